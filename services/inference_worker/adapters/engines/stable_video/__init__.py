"""Stable Video Diffusion as an Engine, over the modules of diffusers."""
