"""The playground: from an estimate to a video that plays."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.platforms import SKYREELS, SVD, eventually

A_RENDER = re.compile(r"rnd_[0-9a-z]{26}")


def run(page: Page) -> Locator:
    """Press the button, and return where its outcome shows."""
    page.get_by_role("button", name="Run", exact=True).click()
    output = page.locator("#output")
    expect(output).to_contain_text(A_RENDER)
    return output


def plays(page: Page) -> bool:
    """Whether the video on the page can be played, and goes on when it is."""
    return page.evaluate(
        """async () => {
            const video = document.querySelector("#output video");
            video.muted = true;
            await video.play();
            const before = video.currentTime;
            await new Promise((done) => setTimeout(done, 300));
            return video.videoWidth > 0 && video.duration > 0 && (video.currentTime !== before || video.loop);
        }"""
    )


# Notes what the output shows, as often as a person could see it.
WATCHED = """() => {
    const seen = { shares: [], previews: [] };
    window.seen = seen;
    setInterval(() => {
        const share = document.querySelector("#output progress")?.value;
        const preview = document.querySelector("#output img.preview")?.getAttribute("src");
        if (share !== undefined && seen.shares.at(-1) !== share) seen.shares.push(share);
        if (preview && seen.previews.at(-1) !== preview) seen.previews.push(preview);
    }, 20);
}"""


@pytest.mark.parametrize("slug", [SVD, SKYREELS])
def test_the_example_runs_as_it_stands_and_its_video_plays(slug: str, page: Page):
    page.goto(f"/models/{slug}#playground")
    page.evaluate(WATCHED)
    output = run(page)
    expect(output).to_contain_text("Receipt", timeout=120_000)
    seen = page.evaluate("window.seen")
    assert seen["shares"] == sorted(seen["shares"])
    assert len(seen["shares"]) > 3
    assert seen["previews"]
    expect(output.locator(".chip")).to_have_text("succeeded")
    eventually(lambda: page.evaluate("document.querySelector('#output video').readyState >= 2"))
    assert plays(page)
    with page.expect_download() as download:
        output.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.startswith(slug)
    assert download.value.path().stat().st_size > 1000


def test_the_first_frames_play_while_the_rest_is_made(page: Page):
    page.goto(f"/models/{SKYREELS}")
    page.get_by_label("Steps steps", exact=True).fill("60")
    output = run(page)
    video = output.locator("video")
    expect(video).to_be_visible(timeout=60_000)
    eventually(lambda: page.evaluate("document.querySelector('#output video').videoWidth > 0"))
    expect(output.locator(".chip")).to_have_text("running")
    output.get_by_role("button", name="Cancel").click()
    expect(output.locator(".chip")).to_have_text("canceled", timeout=30_000)


def test_a_render_is_canceled_on_the_way(page: Page):
    page.goto(f"/models/{SVD}")
    page.get_by_label("Steps steps", exact=True).fill("100")
    output = run(page)
    expect(output).to_contain_text("step", timeout=60_000)
    output.get_by_role("button", name="Cancel").click()
    expect(output.locator(".chip")).to_have_text("canceled", timeout=30_000)
    expect(page.locator("#history .chip").first).to_have_text("canceled")
    expect(output).to_contain_text("Receipt")


def test_a_reload_in_the_middle_goes_on_with_the_same_render(page: Page):
    page.goto(f"/models/{SVD}")
    page.get_by_label("Steps steps", exact=True).fill("100")
    output = run(page)
    match = A_RENDER.search(output.text_content() or "")
    assert match
    expect(output).to_contain_text("step", timeout=60_000)
    page.reload()
    expect(output).to_contain_text(match[0])
    expect(output.locator(".chip")).to_have_text("running")
    output.get_by_role("button", name="Cancel").click()
    expect(output.locator(".chip")).to_have_text("canceled", timeout=30_000)


def test_the_estimate_follows_the_inputs_and_errors_stand_at_their_fields(page: Page):
    page.goto(f"/models/{SKYREELS}")
    cost = page.locator("#estimate dd").nth(1)
    before = (cost.text_content() or "").split()[0]
    page.get_by_label("Steps steps", exact=True).fill("50")
    expect(cost).not_to_contain_text(before)
    page.get_by_label("Frames frames").fill("96")
    page.get_by_label("Width px").fill("9999")
    expect(page.locator("#wrong-num_frames")).to_contain_text("multiple of 4 plus 1")
    expect(page.locator("#wrong-width")).to_contain_text("1280")
    expect(page.get_by_label("Width px")).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_label("Width px")).to_be_focused()
    page.get_by_role("button", name="Back to the example").click()
    expect(page.locator("#wrong-width")).to_be_hidden()
    expect(cost).to_contain_text(before)


DROP = """([text, name, type]) => {
    const bytes = type === "image/png" ? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)) : text;
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type }));
    const event = new DragEvent("drop", { dataTransfer, bubbles: true });
    document.querySelector("[data-drop]").dispatchEvent(event);
}"""
PICTURE = """() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 200, height: 100 });
    canvas.getContext("2d").fillRect(0, 0, 50, 50);
    return canvas.toDataURL();
}"""


def test_a_picture_is_dropped_and_one_that_is_none_is_refused(page: Page):
    page.goto(f"/models/{SVD}")
    picture = page.evaluate(PICTURE)
    page.evaluate(DROP, [picture.partition(",")[2], "picture.png", "image/png"])
    preview = page.get_by_alt_text("Input image: the picture that will be sent")
    expect(preview).to_have_attribute("src", picture)
    page.evaluate(DROP, ["not a picture", "words.txt", "text/plain"])
    expect(page.locator("#wrong-image")).to_contain_text("must be one of image/png")
    expect(preview).to_have_attribute("src", picture)
    page.get_by_role("button", name="Back to the example").click()
    expect(preview).not_to_have_attribute("src", picture)


def test_the_way_to_a_first_request_is_walked_in_place(page: Page):
    page.goto(f"/models/{SVD}?gpu_type=H200&region=eu-north2")
    for step, said in (
        ("verify", "1 free of 1 target"),
        ("validate", "pending: 0 of 1 verified"),
        ("estimate", "H200 in eu-north2"),
        ("prewarm", "on H200 in eu-north2"),
        ("check", "is warm"),
    ):
        page.locator(f"[data-step={step}]").click()
        expect(page.locator(f"#answer-{step}")).to_contain_text(said, timeout=60_000)
        expect(page.locator(f"#answer-{step} .said")).to_contain_text("✓")
    panel = page.locator("#runtime")
    runtime = panel.locator(".runtimes li", has_text="H200")
    expect(runtime.locator(".chip.is-warm")).to_be_visible()
    expect(runtime).to_contain_text("an hour")
    panel.get_by_role("button", name="Keep warm").click()
    expect(runtime).to_contain_text("kept warm")
    panel.get_by_role("button", name="Stop").click()
    expect(runtime).to_have_count(0, timeout=30_000)
    expect(panel.locator("#runtime-said")).to_have_text("Stopped.")
