"""Folders of weights that want more than to be weights: refused before any library opens one of their files."""

import json
import os
import struct

import pytest

from services.inference_worker.adapters.engines import vetting
from services.inference_worker.adapters.engines.vetting import vet
from services.inference_worker.domain.errors import WeightsUnavailable

COMMIT = "9e43909513c6714f1bc78bcb44d96e733cd242aa"


@pytest.fixture
def folder(tmp_path):
    """A folder of one part, with nothing wrong about it."""
    place = tmp_path / "models" / "toy"
    (place / "unet").mkdir(parents=True)
    (place / "model_index.json").write_text(json.dumps({"_class_name": "Toy"}))
    (place / "unet" / "config.json").write_text(json.dumps({"auto_map": {}, "sizes": [1, 2]}))
    (place / "unet" / "model.safetensors").write_bytes(safetensors({"a": ("F32", [2], [0, 8])}, bytes(8)))
    return place


def safetensors(tensors: dict, data: bytes, *, header_bytes: int | None = None) -> bytes:
    header = json.dumps(
        {name: {"dtype": dtype, "shape": shape, "data_offsets": at} for name, (dtype, shape, at) in tensors.items()}
    ).encode()
    return struct.pack("<Q", len(header) if header_bytes is None else header_bytes) + header + data


def refusal(folder) -> str:
    with pytest.raises(WeightsUnavailable) as caught:
        vet(folder)
    assert str(folder.parent) not in caught.value.message
    return caught.value.message


def test_a_folder_of_data_passes(folder):
    vet(folder)


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "a.PT", "a.pth", "a.ckpt", "a.pkl", "a.npy", "a.h5", "a.msgpack", "a.so", "a.py", "a.pyc"],
)
@pytest.mark.parametrize("where", ["", "unet", "unet/deeper/still", ".hidden"])
def test_what_can_run_code_is_refused_wherever_it_lies(folder, where, name):
    place = folder / where
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert name in refusal(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "modeling.Evil"}},
        {"a": [{"b": {"auto_map": {"AutoTokenizer": ["x--y.Z", None]}}}]},
        {"trust_remote_code": True},
        {"custom_pipeline": "evil/pipeline"},
        {"custom_pipelines": {"a": {"impl": "evil.Pipeline"}}},
        {"attn_implementation": "evil/kernels"},
        {"text_config": {"_attn_implementation": {"": "evil/kernels@main"}}},
        {"experts_implementation": "evil/kernels"},
    ],
)
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "tokenizer/tokenizer_config.json"])
def test_a_configuration_that_asks_for_code_is_refused(folder, config, file):
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(config))
    assert f"'{file}' of the weights asks for code of its own" in refusal(folder)


def test_attention_of_the_librarys_own_is_nobody_elses_code(folder):
    (folder / "unet" / "config.json").write_text(
        json.dumps({"attn_implementation": "sdpa", "trust_remote_code": False})
    )
    vet(folder)


@pytest.mark.parametrize(
    "place",
    [
        "../../../etc/model.safetensors",
        "/etc/model.safetensors",
        "../unet/model.safetensors",
        "deeper/model.safetensors",
        "pytorch_model.bin",
        "model.safetensors.bin",
        "missing.safetensors",
        ".safetensors",
        "..\\x.safetensors",
        "model.safetensors\n",
        "",
        7,
        None,
        ["model.safetensors"],
    ],
)
def test_an_index_that_points_elsewhere_than_at_a_file_beside_it_is_refused(folder, place):
    index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": place}}
    (folder / "unet" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "'unet/model.safetensors.index.json' of the weights points at" in refusal(folder)


@pytest.mark.parametrize("index", [{}, [], {"weight_map": []}, {"weight_map": None}])
def test_an_index_without_a_map_is_refused(folder, index):
    (folder / "unet" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "has no weight_map" in refusal(folder)


def test_an_index_of_files_beside_it_passes(folder):
    index = {"weight_map": {"a": "model.safetensors"}}
    (folder / "unet" / "model.safetensors.index.json").write_text(json.dumps(index))
    vet(folder)


@pytest.mark.parametrize("leads_to", ["/etc/passwd", "../../secret", "../..", "/", "nowhere"])
@pytest.mark.parametrize("name", ["vae", "unet/config.json", "unet/more.safetensors"])
def test_a_link_out_of_the_folder_is_refused(folder, leads_to, name):
    (folder.parent / "secret").write_text("{}")
    link = folder / name
    link.unlink(missing_ok=True)
    link.symlink_to(leads_to)
    assert f"'{name}' of the weights" in refusal(folder)


def test_a_link_to_a_folder_is_refused_even_within(folder):
    (folder / "vae").symlink_to("unet")
    assert "'vae' of the weights is a link" in refusal(folder)


def test_links_within_the_folder_pass(folder):
    (folder / "unet" / "other.safetensors").symlink_to("model.safetensors")
    vet(folder)


def test_the_hubs_own_cache_of_links_to_blobs_passes_and_its_links_elsewhere_do_not(tmp_path):
    cache = tmp_path / "models--makers--toy"
    snapshot = cache / "snapshots" / COMMIT
    (snapshot / "unet").mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "blobs" / "abc").write_text("{}")
    (snapshot / "unet" / "config.json").symlink_to("../../../blobs/abc")
    vet(snapshot)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("{}")
    (snapshot / "unet" / "other.json").symlink_to("../../../refs/main")
    assert "leads out" in refusal(snapshot)


def test_what_is_no_file_is_refused_and_not_waited_for(folder):
    os.mkfifo(folder / "unet" / "more.safetensors")
    assert refusal(folder) == "'unet/more.safetensors' of the weights is no file"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x08", id="no header"),
        pytest.param(safetensors({}, b"", header_bytes=2**63), id="a header of exabytes"),
        pytest.param(safetensors({}, b"", header_bytes=200 * 2**20), id="a header of 200 MiB"),
        pytest.param(safetensors({"a": ("F32", [2], [0, 8])}, bytes(4)), id="cut short"),
        pytest.param(safetensors({"a": ("F32", [2], [0, 8])}, bytes(99)), id="more than it says"),
        pytest.param(safetensors({"a": ("F32", [2], [0, 8]), "b": ("F32", [2], [4, 12])}, bytes(12)), id="overlaps"),
        pytest.param(safetensors({"a": ("F32", [2], [4, 12])}, bytes(12)), id="a gap"),
        pytest.param(safetensors({"a": ("F32", [2], [8, 0])}, bytes(8)), id="backwards"),
        pytest.param(safetensors({"a": ("F32", [2**62, 4], [0, 8])}, bytes(8)), id="a shape that overflows"),
        pytest.param(safetensors({"a": ("F32", [9], [0, 8])}, bytes(8)), id="a shape of another size"),
        pytest.param(safetensors({"a": ("PICKLE", [2], [0, 8])}, bytes(8)), id="no type of number"),
        pytest.param(struct.pack("<Q", 5) + b"[[[[[" + bytes(8), id="no JSON"),
        pytest.param(b"\x80\x04\x95" + bytes(60), id="a pickle"),
        pytest.param(b"PK\x03\x04" + bytes(60), id="an archive"),
    ],
)
def test_a_safetensors_file_that_is_none_is_named(folder, content):
    (folder / "unet" / "model.safetensors").write_bytes(content)
    assert refusal(folder).startswith("'unet/model.safetensors' of the weights is damaged")


@pytest.mark.parametrize(
    "content",
    ["", "{", "nope", "[" * 200_000, '{"a": ' * 100_000],
    ids=["nothing", "a half", "words", "lists", "objects"],
)
def test_a_file_that_says_it_is_json_and_is_not_is_named(folder, content):
    (folder / "unet" / "config.json").write_text(content)
    assert refusal(folder) == "'unet/config.json' of the weights is not valid JSON"


def test_json_of_any_size_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(vetting, "_MAX_JSON_BYTES", 2**20)  # the real one takes long to write
    (folder / "unet" / "config.json").write_text('"' + "a" * 2**20 + '"')
    assert "has more than 1 MiB" in refusal(folder)
