"""Trains the demo weights, or goes on where an earlier training stopped: `python -m models_demo.training`."""

import argparse
from pathlib import Path

import torch

from models_demo.architectures import image_vae, text_encoder, video_vae
from models_demo.pipelines import WEIGHTS, filled
from models_demo.training.cells import picture_cells
from models_demo.training.image_to_video import train_unet
from models_demo.training.linear_encoder import set_encoder
from models_demo.training.parts import keep
from models_demo.training.sketches import sketches
from models_demo.training.text import train_text_encoder
from models_demo.training.text_to_video import train_transformer
from models_demo.training.vae import IMAGE, VIDEO, train_decoder, train_video_encoder

PARTS = ("text_encoder", "video_vae", "text_to_video", "image_vae", "image_to_video")


def main() -> None:
    """Train one part after the other, and write each into the folder of weights when it is done."""
    options = argparse.ArgumentParser(prog="python -m models_demo.training", description=__doc__)
    options.add_argument("--folder", type=Path, default=Path("build/train-demo"), help="for checkpoints")
    options.add_argument("--weights", type=Path, default=WEIGHTS, help="where trained parts go")
    options.add_argument("--share", type=float, default=1.0, help="of the steps, to see whether all is well")
    options.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts; the others are as they are")
    settings = options.parse_args()
    for folder in (settings.folder, settings.weights):
        folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        if part in settings.only:
            train(part, settings.folder, settings.weights, settings.share)


def train(part: str, folder: Path, weights: Path, share: float) -> None:
    """Train a part, with those that it builds on as they are among the weights."""
    torch.manual_seed(0)
    match part:
        case "text_encoder":
            keep(train_text_encoder(folder, share), weights / part)
        case "video_vae":
            vae = video_vae()
            train_decoder(folder, share, VIDEO, sketches(weights, share), vae)
            train_video_encoder(folder, share, sketches(weights, share), vae)
            keep(vae, weights / part)
        case "text_to_video":
            told_by = filled(text_encoder(), weights / "text_encoder")
            keep(train_transformer(folder, share, sketches(weights, share), told_by), weights / part)
        case "image_vae":
            vae = image_vae()
            train_decoder(folder, share, IMAGE, picture_cells(weights, share), vae)
            set_encoder(vae, picture_cells(weights, share))
            keep(vae, weights / part)
        case _:
            unet, encoder = train_unet(folder, share, picture_cells(weights, share))
            keep(unet, weights / part)
            keep(encoder, weights / "image_encoder")


if __name__ == "__main__":
    main()
