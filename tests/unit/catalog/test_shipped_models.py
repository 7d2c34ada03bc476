"""The shipped models carry every fact of their specification."""

import base64
import datetime
import hashlib
import json
from typing import Any

import pytest

from services.catalog.domain import InputSchema, Model

SVD_ROWS = [
    ("B200", "us-central1", "works", 7_000, 22_000, None, 1),
    ("B300", "uk-south1", "works", 5_100, 27_600, None, 1),
    ("H100", None, "not probed", None, None, None, None),
    ("H200", "eu-north2", "works", 5_500, 25_300, None, 1),
    ("L40S", "eu-north1", "works", 15_300, 62_000, None, 1),
    ("RTX6000", "us-central1", "works", 6_300, 32_300, None, 1),
]
SKYREELS_ROWS = [
    ("B200", "us-central1", "works", 31_600, 121_000, 2.4, 1),
    ("B300", "uk-south1", "works", 49_400, 346_000, 2.4, 1),
    ("H100", None, "not probed", None, None, None, None),
    ("H200", "eu-north2", "works", 40_600, 211_000, 2.4, 1),
    ("L40S", "eu-north1", "works", 49_200, 661_000, 2.4, 1),
    ("RTX6000", "us-central1", "works", 22_700, 491_000, 2.4, 1),
]


@pytest.fixture
def svd(shipped_models: tuple[Model, ...]) -> Model:
    return next(model for model in shipped_models if model.slug == "stabilityai-stable-video-diffusion")


@pytest.fixture
def skyreels(shipped_models: tuple[Model, ...]) -> Model:
    return next(model for model in shipped_models if model.slug == "skywork-skyreels-v2")


@pytest.fixture
def wan(shipped_models: tuple[Model, ...]) -> Model:
    return next(model for model in shipped_models if model.slug == "wan-ai-wan-2-1")


def _inputs(model: Model) -> InputSchema:
    return model.versions[0].inputs


def _defaults(model: Model) -> dict[str, Any]:
    properties = _inputs(model).schema["properties"]
    return {name: keywords["default"] for name, keywords in properties.items() if "default" in keywords}


def test_svd_has_the_facts_of_its_page(svd: Model) -> None:
    version = svd.versions[0]
    assert (svd.title, svd.category, svd.runtime_kind) == ("Stable Video Diffusion XT", "General", "custom_container")
    assert svd.license.id == "stability-ai-non-commercial-research-community"
    assert (svd.input_modalities, svd.output_modalities) == (("image",), ("video",))
    assert svd.tags[:4] == ("video-generation", "image-to-video", "diffusion", "stable-video-diffusion")
    assert len(svd.tags) == 5
    assert svd.date_added == datetime.date(2026, 5, 17)
    assert (version.version, version.title) == ("img2vid-xt-diffusers", "Image-to-Video XT Diffusers")
    assert version.pipeline == "StableVideoDiffusionPipeline"
    assert version.weights_repository == "stabilityai/stable-video-diffusion-img2vid-xt"
    assert (version.weights_dtype, version.parameters_billions, version.context_window_tokens) == ("fp16", None, None)
    assert (version.vram_floor_gib, version.vram_floor_source) == (16, "configured")


def test_skyreels_has_the_facts_of_its_page(skyreels: Model) -> None:
    version = skyreels.versions[0]
    assert (skyreels.title, skyreels.category) == ("SkyReels-V2 DF 1.3B 540p", "General")
    assert (skyreels.runtime_kind, skyreels.license.id) == ("custom_container", "apache-2.0")
    assert (skyreels.input_modalities, skyreels.output_modalities) == (("text",), ("video",))
    assert skyreels.tags[:4] == ("video-generation", "text-to-video", "diffusion", "skyreels")
    assert len(skyreels.tags) == 5
    assert skyreels.date_added == datetime.date(2026, 5, 17)
    assert (version.version, version.title) == ("df-1-3b-540p-diffusers", "DF 1.3B 540p Diffusers")
    assert version.pipeline == "SkyReelsV2DiffusionForcingPipeline"
    assert version.weights_repository == "Skywork/SkyReels-V2-DF-1.3B-540P-Diffusers"
    assert (version.weights_dtype, version.parameters_billions, version.context_window_tokens) == ("bf16", 1.3, 512)
    assert (version.vram_floor_gib, version.vram_floor_source) == (24, "configured")


def test_wan_has_the_facts_of_its_publisher(wan: Model) -> None:
    version = wan.versions[0]
    assert (wan.title, wan.runtime_kind, wan.license.id) == ("Wan 2.1 T2V 1.3B 480p", "custom_container", "apache-2.0")
    assert (wan.input_modalities, wan.output_modalities) == (("text",), ("video",))
    assert version.pipeline == "WanPipeline"
    assert version.weights_repository == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    assert (version.weights_dtype, version.parameters_billions, version.context_window_tokens) == ("bf16", 1.3, 512)
    assert version.vram_floor_source == "configured"


def test_a_model_whose_speed_nobody_has_published_has_no_figures(wan: Model) -> None:
    assert wan.versions[0].published_figures == ()


@pytest.mark.parametrize(("name", "rows"), [("svd", SVD_ROWS), ("skyreels", SKYREELS_ROWS)])
def test_every_published_row_stands_as_published(request: pytest.FixtureRequest, name: str, rows: list[Any]) -> None:
    model: Model = request.getfixturevalue(name)
    figures = model.versions[0].published_figures
    found = [(f.gpu_type, f.region, f.status, f.cold_start_ms, f.model_ms, f.vram_gb, f.sample_count) for f in figures]
    assert found == rows
    assert all("page of this model" in figure.source for figure in figures)


def test_every_model_links_to_weights_paper_code_licence_and_pipeline(shipped_models: tuple[Model, ...]) -> None:
    for model in shipped_models:
        assert [link.kind for link in model.links] == ["weights", "paper", "code", "license", "pipeline"]


def test_the_svd_example_is_the_pages_body(svd: Model) -> None:
    example = dict(_inputs(svd).example)
    image = example.pop("image")
    assert example == {
        "fps": 7,
        "seed": 17,
        "width": 1024,
        "height": 576,
        "prompt": "Animate the input image with subtle cinematic camera motion",
        "num_frames": 25,
        "guidance_scale": 7.5,
        "num_inference_steps": 25,
        "model": "stabilityai-stable-video-diffusion",
        "model_version": "img2vid-xt-diffusers",
    }
    head, data = image.split(",")
    assert head == "data:image/x-portable-pixmap;base64"
    assert base64.b64decode(data, validate=True).startswith(b"P6\n16 16\n255\n")
    assert len(base64.b64decode(data)) == 13 + 16 * 16 * 3
    body = json.dumps({**example, "image": image}, sort_keys=True)
    assert (
        hashlib.sha256(body.encode()).hexdigest() == "c305ed0e46bec281c0cbdb4bd706f9ffef515817bc1e423fcfca6348eeb7b67a"
    )


def test_the_skyreels_example_is_the_pages_body(skyreels: Model) -> None:
    assert dict(_inputs(skyreels).example) == {
        "fps": 24,
        "seed": 77,
        "width": 960,
        "height": 544,
        "prompt": (
            "A cat and a dog inspect a compact GPU server in a cozy lab, smooth film-like motion, natural light"
        ),
        "ar_step": 5,
        "num_frames": 97,
        "guidance_scale": 6,
        "base_num_frames": 97,
        "negative_prompt": "low quality, blurry, flicker, watermark, distorted anatomy",
        "causal_block_size": 5,
        "addnoise_condition": 20,
        "num_inference_steps": 20,
        "model": "skywork-skyreels-v2",
        "model_version": "df-1-3b-540p-diffusers",
    }


def test_svd_defaults_are_those_of_its_pipeline(svd: Model) -> None:
    assert _defaults(svd) == {
        "width": 1024,
        "height": 576,
        "num_frames": 25,
        "num_inference_steps": 25,
        "fps": 7,
        "guidance_scale": 3.0,
        "min_guidance_scale": 1.0,
        "motion_bucket_id": 127,
        "noise_aug_strength": 0.02,
        "decode_chunk_size": 8,
    }


def test_skyreels_defaults_are_those_of_its_pipeline(skyreels: Model) -> None:
    assert _defaults(skyreels) == {
        "negative_prompt": "",
        "width": 960,
        "height": 544,
        "num_frames": 97,
        "num_inference_steps": 50,
        "guidance_scale": 6.0,
        "fps": 24,
        "ar_step": 0,
        "base_num_frames": 97,
        "addnoise_condition": 0,
    }


def test_wan_defaults_are_those_of_its_pipeline_and_its_frame_rate(wan: Model) -> None:
    assert _defaults(wan) == {
        "negative_prompt": "",
        "width": 832,
        "height": 480,
        "num_frames": 81,
        "num_inference_steps": 50,
        "guidance_scale": 5.0,
        "fps": 16,
    }


def test_inputs_without_effect_say_so(svd: Model) -> None:
    properties = _inputs(svd).schema["properties"]
    assert {name for name in properties if "x-forge-ignored" in properties[name]} == {"prompt", "negative_prompt"}
    assert properties["guidance_scale"]["x-forge-maps-to"] == "max_guidance_scale"
