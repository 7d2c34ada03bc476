"""Trains the demo weights, or goes on where an earlier training stopped: `python -m models_demo.training`."""

import argparse
from pathlib import Path

import torch

from models_demo.architectures import image_vae, video_vae
from models_demo.pipelines import WEIGHTS
from models_demo.training.cells import picture_cells
from models_demo.training.image_to_video import train_unet
from models_demo.training.parts import keep
from models_demo.training.sketches import sketches
from models_demo.training.text import train_text_encoder
from models_demo.training.text_to_video import train_transformer
from models_demo.training.vae import IMAGE, VIDEO, train_vae


def main() -> None:
    """Train one part after the other, and write each into the folder of weights when it is done."""
    options = argparse.ArgumentParser(prog="python -m models_demo.training", description=__doc__)
    options.add_argument("--folder", type=Path, default=Path("build/train-demo"), help="for checkpoints")
    options.add_argument("--weights", type=Path, default=WEIGHTS, help="where trained parts go")
    options.add_argument("--share", type=float, default=1.0, help="of the steps, to see whether all is well")
    settings = options.parse_args()
    folder, weights, share = settings.folder, settings.weights, settings.share
    folder.mkdir(parents=True, exist_ok=True)

    text_encoder = train_text_encoder(folder, share)
    keep(text_encoder, weights, "text_encoder")
    torch.manual_seed(0)
    code, vae = sketches(folder, share), video_vae()
    train_vae(folder, share, VIDEO, code, vae)
    keep(vae, weights, "video_vae")
    keep(train_transformer(folder, share, code, text_encoder), weights, "text_to_video")
    torch.manual_seed(0)
    cells, vae = picture_cells(folder, share), image_vae()
    train_vae(folder, share, IMAGE, cells, vae)
    keep(vae, weights, "image_vae")
    unet, encoder = train_unet(folder, share, cells)
    keep(unet, weights, "image_to_video")
    keep(encoder, weights, "image_encoder")


if __name__ == "__main__":
    main()
