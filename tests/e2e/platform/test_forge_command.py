"""The forge command against a running platform."""

import json
import stat

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"
WAN = "wan-ai-wan-2-1"


def test_the_first_key_lies_in_the_home_for_its_owner_only(platform):
    mode = (platform.home / "api-key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_models_are_listed(platform):
    out = platform.forge("models").stdout
    assert SVD in out
    assert SKYREELS in out
    assert {model["slug"] for model in json.loads(platform.forge("models", "--json").stdout)["models"]} == {
        SVD,
        SKYREELS,
        WAN,
    }


def test_render_makes_the_file(platform, tmp_path):
    out = tmp_path / "cat.mp4"
    args = ["width=64", "height=64", "num_frames=5", "num_inference_steps=3", "prompt=a cat"]
    done = platform.forge("render", SKYREELS, *(part for arg in args for part in ("-p", arg)), "-o", str(out))
    assert out.read_bytes()[4:8] == b"ftyp"
    assert "cat.mp4" in done.stdout + done.stderr


def test_render_takes_an_image(platform, tmp_path):
    image = tmp_path / "in.ppm"
    image.write_bytes(b"P6 16 16 255\n" + bytes(range(256)) * 3)
    out = tmp_path / "out.mp4"
    args = ["width=64", "height=64", "num_frames=2", "num_inference_steps=2"]
    platform.forge("render", SVD, "--image", str(image), *(p for a in args for p in ("-p", a)), "-o", str(out))
    assert out.stat().st_size > 0


def test_a_wrong_parameter_is_named_without_a_traceback(platform, tmp_path):
    done = platform.forge("render", SKYREELS, "-p", "promt=x", "-o", str(tmp_path / "x.mp4"), check=False)
    assert done.returncode != 0
    assert "promt" in done.stderr
    assert "Traceback" not in done.stderr


def test_watch_and_cancel(platform, rest):
    render = rest.post("/v1/renders", json=platform.example(SKYREELS)).json()  # longer than a command takes to begin
    platform.forge("cancel", render["id"])
    done = platform.forge("watch", render["id"], check=False)
    assert "canceled" in done.stdout + done.stderr


def test_a_key_is_made_used_and_revoked(platform):
    made = json.loads(platform.forge("keys", "create", "ci", "--scope", "read", "--json").stdout)
    with platform.client(made["secret"]) as client:
        assert client.get("/v1/models").status_code == 200
        assert client.post(f"/v1/inference/{SVD}", json={}).status_code == 403
        platform.forge("keys", "revoke", made["api_key"]["id"])
        assert client.get("/v1/models").status_code == 401
    assert made["secret"] not in platform.forge("keys", "list").stdout


def test_no_secret_and_no_prompt_is_in_any_log(platform, rest):
    canary = "kanarienvogel-4711"
    rest.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS, prompt=canary))
    logs = "".join(log.read_text() for log in (platform.home / "logs").glob("*"))
    assert logs
    assert canary not in logs
    assert platform.key not in logs
    spans = "".join(str(span) for _, span in platform.collector.spans)
    assert canary not in spans
    assert platform.key not in spans
