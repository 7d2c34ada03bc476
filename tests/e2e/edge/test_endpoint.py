"""One model alone, behind one token, as `forge endpoint` serves it."""

import secrets
from collections.abc import Iterator

import httpx
import pytest

from tests.platforms import SKYREELS, SVD, Platform, eventually, on_one_slot, running

pytestmark = pytest.mark.only_full_size
TOKEN = secrets.token_hex(32)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("endpoint")
    subject = on_one_slot(root, {"FORGE_WEIGHTS": "random", "FORGE_ENDPOINT_TOKEN": TOKEN})
    subject.command = ("endpoint", SKYREELS, "--host", "127.0.0.1")
    with running(subject):
        yield subject


def test_whoever_has_the_token_renders_under_whatever_name_the_endpoint_has(platform: Platform) -> None:
    with platform.client(TOKEN) as client:
        client.headers["host"] = "my-endpoint.example.org"
        made = client.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).json()
        assert made["status"] == "succeeded"
        assert client.get(made["output"]["video_url"]).content[4:8] == b"ftyp"


def test_nobody_else_does(platform: Platform) -> None:
    for key in ("", TOKEN[:-1], TOKEN + "0"):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        assert httpx.get(f"{platform.url}/v1/models", headers=headers, trust_env=False).status_code == 401


def test_the_token_is_a_key_that_makes_no_keys(platform: Platform) -> None:
    with platform.client(TOKEN) as client:
        refused = client.get("/v1/api-keys")
        assert (refused.status_code, refused.json()["details"][0]["reason"]) == (403, "MISSING_SCOPE")


def test_the_model_is_kept_warm_and_is_the_only_one(platform: Platform) -> None:
    with platform.client(TOKEN) as client:
        assert [model["slug"] for model in client.get("/v1/models").json()["models"]] == [SKYREELS]
        assert client.post(f"/v1/inference/{SVD}", json={}).status_code == 404

        def kept() -> bool:
            runtimes = client.get(f"/v1/model-families/{SKYREELS}/status").json().get("runtimes", [])
            return any(runtime["status"] == "warm" and runtime["keep_warm"] for runtime in runtimes)

        eventually(kept, seconds=60, what="a warm runtime that stays")


def test_only_what_guards_the_edge_knows_the_token(platform: Platform) -> None:
    knowing = {
        process.cmdline()[-1] for process in platform.processes("services.") if TOKEN in process.environ().values()
    }
    assert knowing == {"services.accounts"}
    assert not [file for file in platform.home.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]
