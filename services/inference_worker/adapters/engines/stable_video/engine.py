"""Stable Video Diffusion as an Engine: an image to a video, resumable after every step."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image

from services.chassis.errors import InvalidInput, Violation
from services.inference_worker.adapters.engines.device import device_errors, refuse_degenerate, to_uint8
from services.inference_worker.adapters.engines.kernels import DEFAULT, attention_kernel
from services.inference_worker.adapters.engines.leash import leash_on
from services.inference_worker.adapters.engines.offload import Parts
from services.inference_worker.adapters.engines.preview import LatentPreview
from services.inference_worker.adapters.engines.run import Run
from services.inference_worker.adapters.engines.stable_video.arithmetic import DecoderArithmetic, UnetArithmetic
from services.inference_worker.adapters.engines.stable_video.cpu_decoder import cpu_decoder
from services.inference_worker.adapters.engines.stable_video.denoising import (
    Denoising,
    Schedule,
    refuse_unknown_scheduler,
)
from services.inference_worker.adapters.engines.stable_video.encoding import ImageReading
from services.inference_worker.adapters.engines.stable_video.rewrites import (
    flatten_convolutions_over_time,
    layers,
    put_channels_last,
    spare_attention_to_one_token,
    twin,
)
from services.inference_worker.adapters.engines.stable_video.start import Shapes, Start, start_from
from services.inference_worker.adapters.engines.state import pack, unpack
from services.inference_worker.adapters.pillow_images import read_image
from services.inference_worker.domain.attempt import Phase
from services.inference_worker.domain.inputs.stable_video import StableVideoInputs
from services.inference_worker.ports import Listener, Plan, Rendered

_IMAGE_ENCODER, _ENCODER, _UNET, _DECODER = "image encoder", "encoder", "unet", "decoder"

_FREE_INPUTS = frozenset({"guidance_scale", "min_guidance_scale", "motion_bucket_id", "fps", "decode_chunk_size"})

_STILL_FRAMES = 3
"""Frames that a flat latent is decoded as for the preview: the decoder mixes neighbours, and a lone frame has none."""

_FLOPS_PER_SECOND: Mapping[str, Mapping[Phase, float]] = {
    "cuda": {Phase.ENCODING: 5e13, Phase.DENOISING: 4e14, Phase.DECODING: 1e14},
    "cpu": {Phase.ENCODING: 6e10, Phase.DENOISING: 7e10, Phase.DECODING: 7e10},
}
"""Guessed of a large GPU, measured on two cores with demo weights; what counts is how they compare with each other."""


class StableVideoDiffusionEngine:
    """Makes the videos of a diffusers `StableVideoDiffusionPipeline`, of whose parts it is made.

    The same latents and frames but for rounding. The pipeline and its parts stay as they are: what is rewritten is a
    copy that shares the weights, which on a GPU are put in another order.
    """

    def __init__(self, pipeline: Any, device: torch.device, fingerprint: Mapping[str, str]) -> None:
        """Raises WeightsUnavailable for weights with a scheduler whose steps are not known here."""
        refuse_unknown_scheduler(pipeline.scheduler)
        self._device = device
        self._fingerprint = fingerprint
        self._scheduler = pipeline.scheduler
        self._reading = ImageReading(pipeline)
        self._unet, self._decoder = _rewritten(pipeline, device)
        self._latent_channels: int = pipeline.vae.config.latent_channels
        self._latent_scale: float = pipeline.vae.config.scaling_factor
        self._embedding_channels: int = pipeline.image_encoder.config.projection_dim
        self._pixels_per_latent: int = pipeline.vae_scale_factor
        # Each level of the UNet but the last halves the latents, and each halving must come out even.
        self._granularity = self._pixels_per_latent * 2 ** (len(self._unet.down_blocks) - 1)
        self._unet_arithmetic, self._decoder_arithmetic = UnetArithmetic(self._unet), DecoderArithmetic(self._decoder)
        self._preview = LatentPreview(self._stills, self._latent_channels, device)
        self._parts = Parts(
            device,
            {
                _IMAGE_ENCODER: pipeline.image_encoder,
                _ENCODER: self._reading.encoder,
                _UNET: self._unet,
                _DECODER: self._decoder,
            },
        )

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What it was made with."""
        return self._fingerprint

    @property
    def free_inputs(self) -> frozenset[str]:
        """What each step is told anew, and how frames are decoded. The image and its noise are encoded once."""
        return _FREE_INPUTS

    def compile_regions(self, compile: Callable[..., Any]) -> None:  # noqa: A002 — it is what it does
        """Replace the layers of the UNet and the decoder, nearly all of the work, by what `compile` makes of them."""
        for layer in (*layers(self._unet), *layers(self._decoder)):
            layer.forward = compile(layer.forward)

    def make_room(self) -> bool:
        """Keep only the parts at work on the device."""
        return self._parts.make_room()

    def plan(self, inputs: Mapping[str, object]) -> Plan:
        """What a render of these inputs, which `StableVideoInputs` describes, will be."""
        return self._read(inputs)[2]

    def render(self, inputs: Mapping[str, object], listener: Listener, resume_from: bytes | None = None) -> Rendered:
        """Make a video of the inputs that `StableVideoInputs` describes."""
        wanted, image, plan = self._read(inputs)
        run = Run(plan, listener, self._device, step_work=[1.0] * plan.total_steps)
        kernel = attention_kernel(self._fingerprint.get("attention", DEFAULT))
        with device_errors(self._device), torch.no_grad(), kernel:
            schedule = Schedule(self._scheduler, plan.total_steps, self._device)
            if resume_from is None:
                run.encoding("encoding the image")
                start = self._start(wanted, image, schedule.start_scale, run)
            else:
                rest = unpack(resume_from, self._fingerprint, inputs, free=_FREE_INPUTS)
                start = start_from(rest, self._shapes(wanted), plan.total_steps, self._device)
                run.encoding("the checkpoint holds the encoded image")
            latents = self._denoised(start, schedule, wanted, inputs, run)
            refuse_degenerate(latents)
            self._decode(latents, wanted.decode_chunk_size, run)
        return run.finish()

    def _read(self, inputs: Mapping[str, object]) -> tuple[StableVideoInputs, Image.Image, Plan]:
        """What is wanted, its image at its size, and what the render will be. Raises InvalidInput."""
        wanted = StableVideoInputs.read(inputs)
        wrong = [
            Violation(field, f"must be a multiple of {self._granularity}")
            for field, value in (("width", wanted.width), ("height", wanted.height))
            if value % self._granularity
        ]
        if wrong:
            raise InvalidInput(wrong)
        image, notes = read_image(wanted.image, width=wanted.width, height=wanted.height)
        plan = Plan(
            width=wanted.width,
            height=wanted.height,
            num_frames=wanted.num_frames,
            fps=wanted.fps,
            total_steps=wanted.num_inference_steps,
            guess_seconds=self._guess_seconds(wanted),
            warnings=notes,
        )
        return wanted, image, plan

    def _guess_seconds(self, wanted: StableVideoInputs) -> Mapping[Phase, float]:
        shapes = self._shapes(wanted)
        passes = wanted.num_inference_steps * (2 if wanted.is_guided else 1)
        one_frame = self._decoder_arithmetic.flops(1, shapes.height, shapes.width)
        flops = {
            Phase.ENCODING: one_frame,  # the VAE's encoder is much like its decoder, and CLIP is small beside it
            Phase.DENOISING: passes * self._unet_arithmetic.flops(shapes.frames, shapes.height, shapes.width),
            Phase.DECODING: shapes.frames * one_frame,
        }
        return {phase: work / _FLOPS_PER_SECOND[self._device.type][phase] for phase, work in flops.items()}

    def _shapes(self, wanted: StableVideoInputs) -> Shapes:
        return Shapes(
            frames=wanted.num_frames,
            latent_channels=self._latent_channels,
            height=wanted.height // self._pixels_per_latent,
            width=wanted.width // self._pixels_per_latent,
            embedding_channels=self._embedding_channels,
            dtype=self._unet.dtype,
        )

    def _start(self, wanted: StableVideoInputs, image: Image.Image, noise_scale: float, run: Run) -> Start:
        """Encode the image and draw the noise: on the CPU, so that it is the same for every device."""
        generator = torch.Generator().manual_seed(wanted.seed)
        with self._parts.at_work(_IMAGE_ENCODER):
            embedding = self._reading.embedding(image, self._device)
        run.check()
        pixels = self._reading.pixels(image)
        noise = torch.randn(pixels.shape, generator=generator)
        noisy = pixels.to(self._device) + wanted.noise_aug_strength * noise.to(self._device)
        with self._parts.at_work(_ENCODER):
            image_latents = self._reading.latents(noisy).to(embedding.dtype)
        latents = torch.randn(self._shapes(wanted).by_name()["latents"], generator=generator, dtype=embedding.dtype)
        return Start(
            latents=latents.to(self._device) * noise_scale,
            image_latents=image_latents,
            embedding=embedding,
        )

    def _denoised(
        self,
        start: Start,
        schedule: Schedule,
        wanted: StableVideoInputs,
        inputs: Mapping[str, object],
        run: Run,
    ) -> torch.Tensor:
        """The latents after the last step, shape (frames, channels, h, w)."""
        with self._parts.at_work(_UNET):
            denoising = Denoising(self._unet, schedule, start, wanted)
            run.denoising(start.done)
            with self._leashed(self._unet, run):
                while not denoising.is_done:
                    denoising.step()
                    run.step(
                        preview=lambda: self._preview.picture(denoising.expected_middle()),
                        checkpoint=lambda: pack(denoising.now.at_rest(), self._fingerprint, inputs),
                    )
        return denoising.now.latents[0]

    def _decode(self, latents: torch.Tensor, chunk_frames: int, run: Run) -> None:
        """Show latents of shape (frames, channels, h, w). The decoder mixes the frames of a chunk, so that shows."""
        run.decoding()
        with self._parts.at_work(_DECODER), self._leashed(self._decoder, run):
            for chunk in latents.split(chunk_frames):
                pixels = to_uint8(self._pixels(chunk, len(chunk)))
                run.show(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())

    def _pixels(self, latents: torch.Tensor, frames_each: int) -> torch.Tensor:
        """Videos of so many frames each, one after the other, from (frames, channels, h, w) to RGB in -1…1."""
        scaled = (1 / self._latent_scale * latents).to(self._decoder.conv_in.weight.dtype)
        is_still = scaled.new_zeros(len(scaled) // frames_each, frames_each)
        return self._decoder(scaled, image_only_indicator=is_still, num_frames=frames_each)

    def _stills(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents of shape (n, channels, h, w), each decoded as the middle of a video where nothing moves."""
        frames = latents.repeat_interleave(_STILL_FRAMES, dim=0)
        return self._pixels(frames, _STILL_FRAMES)[_STILL_FRAMES // 2 :: _STILL_FRAMES]

    @contextmanager
    def _leashed(self, model: Any, run: Run) -> Iterator[None]:
        """While the block runs, a render that is to stop leaves the model between two of its layers."""
        leash = leash_on(self._device, run.check)
        handles = [layer.register_forward_pre_hook(lambda *_: leash()) for layer in layers(model)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _rewritten(pipeline: Any, device: torch.device) -> tuple[Any, Any]:
    """The UNet and the decoder as they run best on the device. All but the CPU's decoder share the pipeline's weights.

    On the CPU the UNet keeps every bit of what it makes: its first steps start from noise hundreds of times as large as
    a video, and carry a rounding of that over into the video. Elsewhere rounding differs anyhow.
    """
    unet = twin(pipeline.unet)
    spare_attention_to_one_token(unet, bit_for_bit=device.type == "cpu")
    if device.type == "cpu":
        return unet, cpu_decoder(pipeline.vae.decoder)
    decoder = twin(pipeline.vae.decoder)
    for model in (unet, decoder):
        flatten_convolutions_over_time(model)
        put_channels_last(model)
    return unet, decoder
