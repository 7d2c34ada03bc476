"""A render's page: what it does, what it did, and what one can do about it."""

from playwright.sync_api import Page, expect

from tests.platforms import SKYREELS, SVD, Platform, eventually


def created(platform: Platform, slug: str, **changes: object) -> str:
    with platform.client() as client:
        answer = client.post("/v1/renders", json=platform.small(slug, **changes))
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]


def test_a_render_moves_on_its_page_without_a_reload(page: Page, platform: Platform):
    render_id = created(platform, SVD, num_inference_steps=100, width=256, height=256, num_frames=8)
    page.goto(f"/renders/{render_id}")
    expect(page.locator("#status")).to_have_text("running", timeout=30_000)
    expect(page.locator("#standing")).to_contain_text("step", timeout=60_000)
    before = page.locator("#standing").inner_text()
    expect(page.locator("#standing")).not_to_have_text(before)
    expect(page.locator("#picture img, #picture video").first).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("#status")).to_have_text("canceled", timeout=30_000)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.locator("#receipt")).to_contain_text("Total")


def test_a_paused_render_goes_on_from_its_page(page: Page, platform: Platform):
    render_id = created(platform, SKYREELS, pause_after_step=2)
    page.goto(f"/renders/{render_id}")
    expect(page.locator("#status")).to_have_text("paused", timeout=60_000)
    page.get_by_role("button", name="Continue", exact=True).click()
    expect(page.locator("#status")).to_have_text("succeeded", timeout=60_000)
    expect(page.locator("#timeline")).to_contain_text("Attempt 2")
    expect(page.locator("#log")).to_contain_text("paused")


def test_the_finished_video_can_be_sought_in_and_handed_on(page: Page, platform: Platform):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    render_id = created(platform, SKYREELS, num_frames=49, width=128, height=128)
    page.goto(f"/renders/{render_id}")
    expect(page.locator("#status")).to_have_text("succeeded", timeout=60_000)
    page.reload()  # the player that showed the frames while they were made shows the finished file from now on
    video = page.locator("#picture video")
    eventually(lambda: video.evaluate("(video) => video.readyState >= 1"), what="the video")
    sought = video.evaluate(
        """(video) => new Promise((done) => {
            video.onseeked = () => done(video.currentTime);
            video.currentTime = video.duration / 2;
        })"""
    )
    assert sought > 0.5
    page.get_by_role("button", name="Copy a download link").click()
    link = eventually(lambda: page.evaluate("navigator.clipboard.readText()"), what="the link")
    with page.context.browser.new_context() as stranger:  # pyright: ignore[reportOptionalMemberAccess] — it has one
        answer = stranger.request.get(link if link.startswith("http") else platform.url + link)
        assert answer.status == 200
        assert answer.headers["content-type"] == "video/mp4"
        assert "attachment" in answer.headers["content-disposition"]


def test_the_list_of_renders_is_narrowed_and_leads_to_each(page: Page, platform: Platform):
    render_id = created(platform, SKYREELS)
    page.goto("/renders")
    expect(page.get_by_role("main")).to_contain_text(SKYREELS)
    page.get_by_label("Status").select_option("failed")
    expect(page.locator(f'a[href="/renders/{render_id}"]')).to_have_count(0)
    page.goto("/renders")
    page.locator(f'a[href="/renders/{render_id}"]').first.click()
    expect(page).to_have_url(f"{platform.url}/renders/{render_id}")
    expect(page.locator("#status")).to_have_text("succeeded", timeout=60_000)


def test_a_render_is_deleted_once_one_has_said_yes(page: Page, platform: Platform):
    render_id = created(platform, SKYREELS)
    page.goto(f"/renders/{render_id}")
    expect(page.locator("#status")).to_have_text("succeeded", timeout=60_000)
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete").click()
    page.reload()
    expect(page.locator("#status")).to_have_text("succeeded")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/renders")
    expect(page.locator(f'a[href="/renders/{render_id}"]')).to_have_count(0)
    response = page.goto(f"/renders/{render_id}")
    assert response is not None
    assert response.status == 404
