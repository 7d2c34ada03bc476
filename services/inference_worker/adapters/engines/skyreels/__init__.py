"""SkyReels-V2 with diffusion forcing: a prompt to a video."""
