"""The benchmark for a GPU, as far as it can be tried without one."""

import json
import time
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.engine_gpu import run_stage
from bench.gpu.full_size import as_loaded, skyreels, stable_video
from bench.gpu.measuring import Stage
from bench.gpu.notebook import FIRST_FRAMES, OURS, SKYREELS, SVD, THEIRS, WHOLE, Notebook, named, rate_of
from bench.gpu.subjects import full_size_subjects
from bench.gpu.table import LINES, tables
from services.inference_worker.adapters.engines.libraries import diffusers, transformers
from services.inference_worker.adapters.engines.skyreels.course import course_of
from services.inference_worker.domain.inputs.skyreels import SkyReelsInputs

META = torch.device("meta")


@pytest.fixture
def a_stage(tmp_path):
    def stage(ends_at: float = float("inf")) -> Stage:
        return Stage(Notebook(), torch.device("cpu"), {}, tmp_path, tiny=False, ends_at=ends_at)

    return stage


@pytest.fixture(scope="module")
def unet_and_vae():
    pipeline = stable_video(META)
    return pipeline.unet, pipeline.vae


def line(text: str, slug: str, label: str) -> str:
    """The line with this label in the table of a model."""
    chapter = text[text.index(slug) :]
    return next(line for line in chapter.splitlines() if line.startswith(label))


def test_calibration_makes_the_rates_that_floors_rest_on(tmp_path):
    notebook = Notebook()
    run_stage("calibration", notebook, tmp_path, tiny=True)
    assert not notebook.failures
    for dtype in (torch.bfloat16, torch.float16):
        assert notebook.figures[rate_of(dtype)].value > 0
    assert "≤ 11" in line("\n".join(tables(notebook)), SVD, "whole render, warm")


def test_the_tables_set_ours_beside_diffusers_the_page_the_floor_and_the_target():
    notebook = Notebook()
    for slug, ours, theirs in ((SVD, 9.0, 21.0), (SKYREELS, 44.0, 205.0)):
        notebook.note(named(slug, OURS, WHOLE), ours)
        notebook.note(named(slug, THEIRS, WHOLE), theirs, extrapolated=slug == SKYREELS)
    for dtype in (torch.bfloat16, torch.float16):
        notebook.note(rate_of(dtype), 790, "TFLOP/s")
    text = "\n".join(tables(notebook))
    for slug, *cells in (
        (SVD, "9.00", "-", "21.00", "25.3", "5.3"),
        (SKYREELS, "44.00", "-", "205.00*", "211.0", "22.7"),
    ):
        header = text[text.index(slug) :].splitlines()[1]
        assert [column for column in ("ours", "diffusers", "page", "floor", "target") if column not in header] == []
        assert line(text, slug, "whole render, warm").split("warm")[1].split()[:5] == cells


def test_what_is_not_measured_is_a_gap_in_the_table_and_not_a_zero():
    assert line("\n".join(tables(Notebook())), SKYREELS, "first 17 frames").split()[3:6] == ["-", "-", "-"]


def test_a_measurement_that_fails_is_named_and_those_after_it_are_made(a_stage):
    stage = a_stage()
    stage.attempt("divided", lambda: 1 / 0)
    stage.attempt("noted", lambda: stage.notebook.note("noted", 1.0))
    assert stage.notebook.failures == {"divided": "ZeroDivisionError: division by zero"}
    assert stage.notebook.figures["noted"].value == 1.0


def test_a_measurement_that_would_outlast_its_stage_is_named_and_not_begun(a_stage):
    stage = a_stage(ends_at=time.monotonic() + 100)
    begun = []
    stage.attempt("long", lambda: begun.append("long"), takes_seconds=200)
    stage.attempt("short", lambda: begun.append("short"), takes_seconds=1)
    assert begun == ["short"]
    assert list(stage.notebook.failures) == ["long"]


def test_a_figure_is_on_the_disk_as_soon_as_it_is_noted(tmp_path):
    file = tmp_path / "engine_gpu.json"
    Notebook(file).note("speed", 3.0, "m/s")
    assert json.loads(file.read_text())["figures"]["speed"]["value"] == 3.0


def test_processes_take_turns_with_one_notebook(tmp_path):
    file = tmp_path / "engine_gpu.json"
    parent = Notebook(file)
    parent.note("first", 1.0)
    Notebook(file).note("second", 2.0)
    parent.read_again()
    parent.failed("third", "no time")
    assert list(Notebook(file).figures) == ["first", "second"]
    assert Notebook(file).failures == {"third": "no time"}


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (
            partial(
                diffusers.SkyReelsV2Transformer3DModel,
                num_attention_heads=2,
                attention_head_dim=12,
                text_dim=16,
                freq_dim=16,
                ffn_dim=32,
                num_layers=1,
                inject_sample_info=True,
                rope_max_seq_len=64,
            ),
            torch.bfloat16,
        ),
        (
            partial(
                diffusers.UNetSpatioTemporalConditionModel,
                down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
                up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
                block_out_channels=(32, 64),
                layers_per_block=1,
                cross_attention_dim=32,
                num_attention_heads=(2, 4),
                addition_time_embed_dim=32,
                projection_class_embeddings_input_dim=96,
            ),
            torch.float16,
        ),
        (
            lambda: transformers.UMT5EncoderModel(
                transformers.UMT5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
            ),
            torch.bfloat16,
        ),
    ],
    ids=["SkyReels", "UNet", "UMT5"],
)
def test_random_models_have_the_number_formats_of_loaded_ones(make, dtype, tmp_path):
    made = as_loaded(make, dtype, torch.device("cpu"))
    made.save_pretrained(tmp_path)
    library = "torch_dtype" if isinstance(made, diffusers.ModelMixin) else "dtype"
    loaded = type(made).from_pretrained(tmp_path, **{library: dtype})

    def formats(model):
        return {name: tensor.dtype for name, tensor in (*model.named_parameters(), *model.named_buffers())}

    assert formats(made) == formats(loaded)
    assert dtype in formats(made).values()


def test_full_size_models_have_the_parameters_of_the_published_ones(unet_and_vae):
    def billions(model):
        return round(sum(parameter.numel() for parameter in model.parameters()) / 1e9, 3)

    pipeline = skyreels(META)
    assert [billions(model) for model in unet_and_vae] == [1.525, 0.098]
    assert billions(pipeline.transformer) == 1.436
    assert billions(pipeline.text_encoder) == 5.681
    assert billions(pipeline.vae) == 0.127


def test_a_thin_text_encoder_makes_embeddings_of_the_same_width():
    thin, whole = (skyreels(META, thin_text_encoder=thin).text_encoder.config for thin in (True, False))
    assert thin.d_model == whole.d_model


def test_the_floor_of_svd_is_what_its_modules_multiply(unet_and_vae):
    unet, vae = unet_and_vae
    empty = partial(torch.empty, dtype=torch.float16, device=META)
    with torch.no_grad(), FlopCounterMode(display=False) as one_step:
        unet(empty(2, 25, 8, 72, 128), empty(()), empty(2, 1, 1024), empty(2, 3))
    with torch.no_grad(), FlopCounterMode(display=False) as coding:
        vae.decode(empty(25, 4, 72, 128), num_frames=25)
        vae.encode(empty(1, 3, 576, 1024))
    counted = 25 * one_step.get_total_flops() + coding.get_total_flops()
    assert LINES[SVD][0].petaflops == pytest.approx(counted / 1e15, rel=0.01)


def test_the_floors_of_skyreels_are_what_the_engine_plans():
    subject, pipeline = full_size_subjects()[SKYREELS], skyreels(META, thin_text_encoder=True)
    course = course_of(SkyReelsInputs.read(subject.inputs), pipeline.transformer.config, height=68, width=120)
    counts = []
    for latent_frames in (1, 2):
        with torch.no_grad(), FlopCounterMode(display=False) as decoding:
            pipeline.vae.decode(torch.empty(1, 16, latent_frames, 68, 120, device=META))
        counts.append(decoding.get_total_flops() / 1e15)
    decoded = counts[0] + 24 * (counts[1] - counts[0])
    floors = {line.part or line.label: line.petaflops for line in LINES[SKYREELS]}
    steps = [flops / 1e15 for flops in course.step_flops]
    assert floors[WHOLE] == pytest.approx(sum(steps) + decoded, rel=0.02)
    first = next(number for number, step in enumerate(course.stretches[0].schedule.iterations, 1) if step.final)
    assert floors[FIRST_FRAMES] == pytest.approx(sum(steps[:first]) + decoded * 5 / 25, rel=0.02)
