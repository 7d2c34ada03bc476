"""No prompt, image, key or secret is in a log, a span, a metric or a generated file."""

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.receivers import receiving

SVD, SKYREELS = "stabilityai-stable-video-diffusion", "skywork-skyreels-v2"
PROMPT = "kanarienvogel überm Förde-Kai 7Qx9"
TEXT_IN_IMAGE = "kanarienbild-4Wm8"
BAD_KEY = "forge_local_KanarienSchluessel3Zt5"
QUERY = "kanarienfrage-2Rb6"
DATABASES_WITHOUT_INPUTS = ("traces.sqlite3", "audit.sqlite3")


def test_what_people_hand_over_is_in_no_log_span_metric_or_generated_file(platform, rest, eventually):
    with receiving() as receiver:
        made = rest.post("/v1/webhooks", json={"url": receiver.url, "statuses": ["succeeded", "failed"]}).json()
        receiver.status = 500
        good = rest.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS, prompt=PROMPT)).json()
        image = f"data:image/png;base64,{base64.b64encode(a_picture(TEXT_IN_IMAGE)).decode()}"
        rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD, image=image)).raise_for_status()
        failing = {"prompt": PROMPT, "num_inference_steps": 100, "width": 320, "height": 192, "num_frames": 33}
        failed = rest.post(
            f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS, deadline=soon(), **failing)
        ).json()
        assert failed["status"] == "failed"
        refused = [
            rest.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS, prompt=PROMPT, width=PROMPT)),
            rest.post(f"/v1/inference/{SKYREELS}", content=json.dumps({"prompt": PROMPT})[:-3]),
            rest.get(f"/v1/models?query={quote(QUERY)}&api_key={BAD_KEY}"),
            rest.get("/v1/renders", headers={"authorization": f"Bearer {BAD_KEY}"}),
        ]
        assert [answer.status_code >= 400 for answer in refused] == [True] * 4
        link = rest.post(f"/v1/renders/{good['id']}/video-links", json={}).json()["url"]
        token = httpx.URL(link).path.rsplit("/", 1)[-1]
        assert (
            httpx.get(httpx.URL(platform.url).join(httpx.URL(link).raw_path.decode()), trust_env=False).status_code
            == 200
        )
        signed_in = httpx.post(f"{platform.url}/sign-in", data={"key": platform.key}, trust_env=False)
        session = next(iter(signed_in.cookies.values()), "")
        eventually(lambda: receiver.messages, what="a message to the webhook")
        rest.delete(f"/v1/webhooks/{made['webhook']['id']}")

    def traced():
        return {"render", "denoising"} <= {span.name for _, span in platform.collector.trace(good["trace_id"])}

    eventually(traced, what="the spans")
    secrets = {
        "the prompt": PROMPT,
        "a text in the image": TEXT_IN_IMAGE,
        "the image": image.partition(",")[2][-120:],
        "a bad key": BAD_KEY,
        "the key": platform.key,
        "the webhook's secret": made["secret"],
        "the query": QUERY,
        "a signed link": token,
    } | ({"a session": session} if session else {})
    planted = (platform.home / "state" / "scheduler.sqlite3-wal").read_bytes()
    assert any(form in planted for form in forms(PROMPT)), "it would have been found"
    found = [
        (what, where) for where, content in everything(platform) for what in secrets if shows(content, secrets[what])
    ]
    # The terminal of `forge up` shows the first key, once and on purpose.
    assert [one for one in found if one != ("the key", "up.log")] == []


@pytest.mark.parametrize("written", [PROMPT, json.dumps(PROMPT), quote(PROMPT), f"…{PROMPT}…".encode().hex()])
def test_the_search_finds_what_is_written_in_another_form(written):
    assert shows(f"before {written} after".encode(), PROMPT)


@pytest.mark.parametrize("before", ["", "a", "ab"])
def test_the_search_finds_what_is_somewhere_inside_base64(before):
    assert shows(base64.b64encode(f"{before}{PROMPT}{before}".encode()), PROMPT)


def shows(content: bytes, secret: str) -> bool:
    return any(form in content for form in forms(secret))


def forms(secret: str) -> list[bytes]:
    """A text as it may be written: plain, in JSON, in a URL, in hexadecimal, inside base64."""
    plain = secret.encode()
    inside = [base64.b64encode(b"x" * shift + plain)[(4 if shift else 0) : -4] for shift in range(3)]
    texts = [json.dumps(secret)[1:-1], quote(secret), quote(secret, safe=""), plain.hex()]
    return [plain, *inside, *(text.encode() for text in texts)]


def everything(platform) -> Iterator[tuple[str, bytes]]:
    """All that operators look at, and what they keep of it."""
    files: list[Path] = [platform.home.parent / "up.log"]
    files += [path for folder in ("logs", "run") for path in (platform.home / folder).rglob("*")]
    files += [path for name in DATABASES_WITHOUT_INPUTS for path in (platform.home / "state").glob(f"*{name}*")]
    for file in files:
        if file.is_file():
            yield file.name, file.read_bytes()
    for service, span in list(platform.collector.spans):
        yield f"a span of {service}", span.SerializeToString()
    for target in json.loads((platform.home / "run" / "prometheus-targets.json").read_text()):
        path = target["labels"].get("__metrics_path__", "/metrics")
        for accepted in ("text/plain", "application/openmetrics-text; version=1.0.0"):
            page = httpx.get(f"http://{target['targets'][0]}{path}", headers={"accept": accepted}, trust_env=False)
            assert page.status_code == 200
            yield f"the metrics of {target['labels']['service']}", page.content


def a_picture(text: str) -> bytes:
    """A small PNG with a text inside."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * 3) % 256 for x in range(64 * 3)) for _ in range(64))
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tEXt", b"Comment\0" + text.encode())
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
