"""Rules of the commands that send images beforehand."""

import pytest

from forge_cli.sending import MOST_BYTES, WITHIN_A_REQUEST_BYTES

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def a_file(tmp_path):
    def write(size: int = 100, start: bytes = PNG):
        path = tmp_path / "cat.png"
        path.write_bytes(start + bytes(size - len(start)))
        return str(path)

    return write


def test_an_upload_prints_what_renders_name_it_by_and_nothing_else(run, platform, a_file):
    done = run("upload", a_file())
    assert done.stdout == "forge-upload://upl_1\n"
    assert "8×4, 2.5 MB" in done.stderr
    assert "2030-01-31" in done.stderr
    (request,) = platform.asked
    assert request.file.content_type == "image/png"
    assert request.file.data == PNG + bytes(92)


def test_what_is_no_image_or_too_large_is_not_sent(run, platform, a_file):
    assert "no image of a known kind" in run("upload", a_file(start=b"GIF89a")).stderr
    assert "too large" in run("upload", a_file(MOST_BYTES + 1)).stderr
    assert "cannot read" in run("upload", "missing.png").stderr
    assert platform.asked == []


def test_uploads_are_listed_and_deleted(run, platform):
    assert "upl_1" in run("uploads").stdout
    assert '"media_type": "image/png"' in run("uploads", "--json").stdout
    assert run("uploads", "delete", "upl_1").stdout == "upl_1 is gone\n"
    assert platform.asked[0].upload_id == "upl_1"


def test_an_image_that_is_small_goes_within_the_request(run, platform, a_file):
    run("render", "toy", "-p", "prompt=x", "--image", a_file(), "--detach")
    assert platform.inputs[0]["image"].startswith("data:image/png;base64,")
    assert platform.asked == []


def test_an_image_that_is_large_goes_before_the_request(run, platform, a_file):
    run("render", "toy", "-p", "prompt=x", "--image", a_file(WITHIN_A_REQUEST_BYTES + 1), "--detach")
    assert platform.inputs[0]["image"] == "forge-upload://upl_1"
    assert len(platform.asked[0].file.data) == WITHIN_A_REQUEST_BYTES + 1
