"""Loading: pipelines as diffusers makes them, bytes told as they arrive, a fingerprint of all that shows in bits."""

import itertools
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from services.inference_worker.adapters.engines import read_ahead, recipes
from services.inference_worker.adapters.engines.kernels import AttentionShape
from services.inference_worker.adapters.engines.libraries import diffusers, transformers
from services.inference_worker.adapters.engines.loader import DiffusersEngineLoader, Kind
from services.inference_worker.adapters.engines.weights import WeightsFolder
from services.inference_worker.domain.errors import WeightsUnavailable
from services.inference_worker.domain.version import StartPhase
from services.inference_worker.ports import Rendered

PIPELINES = {"svd": "StableVideoDiffusionPipeline", "skyreels": "SkyReelsV2DiffusionForcingPipeline"}
CPU = torch.device("cpu")


class Idle:
    """An engine that only keeps what it was made with."""

    def __init__(self, pipeline, device, fingerprint):
        self.pipeline = pipeline
        self.fingerprint = fingerprint

    def render(self, inputs, listener, resume_from=None):
        return Rendered({})


KINDS = {name: Kind(Idle, {}, AttentionShape(1, 1, 1, 1, 8)) for name in PIPELINES.values()}


@pytest.fixture
def random_weights(weights_dir):
    """The folder of a model's random weights."""
    return lambda slug: recipes.RANDOM.folder(weights_dir, slug, PIPELINES[slug], lambda: None)


@pytest.fixture
def directory(random_weights, tmp_path):
    """A directory of FORGE_WEIGHTS, with SVD's weights by slug and version."""
    shutil.copytree(random_weights("svd"), tmp_path / "directory" / "svd" / "v1")
    return tmp_path / "directory"


@pytest.fixture
def start(weights_dir, a_version):
    """Loads a version into an idle engine; also the moments of its start."""

    def start(slug="svd", source="random", threads=2, monotonic=None, **changes):
        moments = []
        loader = DiffusersEngineLoader(
            source=str(source),
            weights_dir=weights_dir,
            device="cpu",
            threads=threads,
            kinds=KINDS,
            monotonic=monotonic or itertools.count().__next__,
        )
        threads_before = torch.get_num_threads()
        try:
            return loader.load(a_version(slug, **changes), moments.append), moments
        finally:
            torch.set_num_threads(threads_before)

    return start


@pytest.fixture
def in_small_pieces(monkeypatch):
    """Reads random weights as large ones are read: in many pieces."""
    monkeypatch.setattr(read_ahead, "_PIECE_BYTES", 10_000)
    monkeypatch.setattr(read_ahead, "_BUFFER_BYTES", 4_096)


def tensors(model):
    """Every parameter and buffer with its number format, those that no file holds included."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: (tensor.dtype, tensor.device.type, tensor) for name, tensor in named}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("slug", PIPELINES)
def test_every_part_is_what_its_own_library_makes_of_it(random_weights, slug, dtype):
    pipeline = WeightsFolder(random_weights(slug), PIPELINES[slug]).load(dtype, CPU, lambda *_: None).pipeline
    compared = 0
    models = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    for name, part in models.items():
        wanted = torch.float32 if isinstance(part, diffusers.AutoencoderKLWan) else dtype
        keyword = "torch_dtype" if isinstance(part, diffusers.ModelMixin) else "dtype"
        own: Any = type(part)
        ours, theirs = tensors(part), tensors(own.from_pretrained(random_weights(slug) / name, **{keyword: wanted}))
        assert ours.keys() == theirs.keys()
        for key, (dtype_of, place, tensor) in ours.items():
            assert (dtype_of, place) == theirs[key][:2], key
            assert torch.equal(tensor, theirs[key][2]), key
        assert not part.training
        compared += len(ours)
    assert compared > 100
    assert torch.get_default_dtype() is torch.float32


def test_bytes_are_told_as_they_arrive_part_by_part(start, in_small_pieces):
    _, moments = start("skyreels")
    told = [moment for moment in moments if moment.phase is StartPhase.WEIGHTS]
    sizes = [moment.done_bytes for moment in told]
    assert sizes == sorted(sizes)
    assert sizes[0] == 0
    assert sizes[-1] == told[-1].total_bytes
    assert len(set(sizes)) > 20
    parts = list(dict.fromkeys(moment.message.split()[1] for moment in told))
    assert parts == ["scheduler", "text_encoder", "tokenizer", "transformer", "vae", "pipeline"]
    of_text_encoder = [moment.done_bytes for moment in told if "text_encoder" in moment.message]
    assert of_text_encoder[0] == 0, "what is read ahead of its turn is not told"


def test_a_part_is_told_of_at_most_five_times_a_second(start, in_small_pieces):
    seconds = 0.0

    def monotonic():
        nonlocal seconds
        seconds += 0.01
        return seconds

    _, many = start("skyreels")
    _, few = start("skyreels", monotonic=monotonic)
    told = [moment for moment in few if moment.phase is StartPhase.WEIGHTS]
    assert len(told) <= 6 + seconds / 0.2 < len(many) / 2
    assert told[-1].done_bytes == told[-1].total_bytes


@pytest.mark.parametrize("part", ["image_encoder", "unet", "vae"])
def test_a_file_that_cannot_be_read_fails_the_load_by_the_name_of_its_part(start, directory, monkeypatch, part):
    read = read_ahead._read

    def failing(file, *args):
        if file.parent.name == part:
            raise OSError("Input/output error")
        return read(file, *args)

    monkeypatch.setattr(read_ahead, "_read", failing)  # a broken disk cannot be had on cue
    with pytest.raises(WeightsUnavailable, match=f"'{part}'"):
        start(source=directory)


def test_no_reader_outlives_a_load_that_fails(start, directory, in_small_pieces):
    (directory / "svd" / "v1" / "feature_extractor" / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsUnavailable, match="'feature_extractor'"):
        start(source=directory)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize(("piece_bytes", "buffer_bytes"), [(10_003, 10_003), (1_000, 300), (7, 100), (20_000, 999)])
def test_every_byte_of_a_file_is_read_once_whatever_the_pieces(tmp_path, monkeypatch, piece_bytes, buffer_bytes):
    monkeypatch.setattr(read_ahead, "_PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(read_ahead, "_BUFFER_BYTES", buffer_bytes)
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(10_003))
    with read_ahead.reading_ahead([file], with_digests=True) as ahead:
        arrived = list(ahead.arrivals(file))
    assert sum(arrived) == 10_003
    assert len(arrived) == -(-10_003 // piece_bytes)


def test_the_fingerprint_says_what_the_bits_rely_on(start):
    engine, moments = start()
    assert engine.fingerprint == {
        **engine.fingerprint,
        "model": "svd v1",
        "weights": f"random {recipes.RANDOM.version}",
        "number format": "float32",
        "attention": "default",
        "kernels": "eager",
        "threads": "2",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
    assert torch.backends.cpu.get_cpu_capability() in engine.fingerprint["device"]
    assert moments[-1].phase is StartPhase.WARM_UP
    assert "attention kernel: default" in moments[-1].message
    assert start()[0].fingerprint == engine.fingerprint


@pytest.mark.parametrize(
    ("changes", "fact"),
    [({"threads": 1}, "threads"), ({"model_version": "v2"}, "model"), ({"slug": "skyreels"}, "model")],
)
def test_one_other_condition_is_one_other_fact(start, changes, fact):
    before, after = start()[0].fingerprint, start(**changes)[0].fingerprint
    assert {name for name in before if before[name] != after[name]} == {fact}


def test_numbers_of_another_format_are_another_fact(a_version):
    from services.inference_worker.adapters.engines.fingerprint import fingerprint

    one, other = (
        fingerprint(a_version("svd"), weights="w", dtype=dtype, device=CPU, attention="default")
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert {name for name in one if one[name] != other[name]} == {"number format"}


@pytest.mark.parametrize(
    "file",
    ["unet/diffusion_pytorch_model.safetensors", "vae/config.json", "scheduler/scheduler_config.json"],
)
def test_a_directory_with_one_changed_byte_has_another_fingerprint(start, directory, file):
    before = start(source=directory)[0].fingerprint
    changed = directory / "svd" / "v1" / file
    content = bytearray(changed.read_bytes())
    # The last byte of weights is the end of a number; after the last of JSON there may be a space.
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if file.endswith("s") else content + b" ")
    after = start(source=directory)[0].fingerprint
    assert {name for name in before if before[name] != after[name]} == {"weights"}


def test_where_a_directory_is_and_when_it_was_written_do_not_show_in_the_fingerprint(start, directory, tmp_path):
    before = start(source=directory)[0].fingerprint
    moved = Path(shutil.copytree(directory, tmp_path / "elsewhere"))
    (moved / "svd" / "v1" / "README.md").write_text("hello")
    for file in moved.rglob("*"):
        os.utime(file, (1, 1))
    assert start(source=moved)[0].fingerprint == before
