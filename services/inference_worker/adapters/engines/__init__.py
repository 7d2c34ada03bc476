"""Engines over diffusers: the only files that import torch, diffusers and transformers."""
