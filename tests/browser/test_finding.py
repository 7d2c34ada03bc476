"""Finding a model, and pinning a target through its whole page."""

from playwright.sync_api import Page, expect

from tests.platforms import SKYREELS, SVD


def test_a_visitor_finds_a_model_as_they_type(visitor: Page):
    visitor.goto("/")
    expect(visitor.locator(".card")).to_have_count(3)
    visitor.get_by_label("Search").press_sequentially("skyreels")
    expect(visitor.locator(".card")).to_have_count(1)
    expect(visitor.get_by_role("heading", name="SkyReels")).to_be_visible()
    expect(visitor).to_have_url("**/?query=skyreels".replace("**", visitor.url.split("/?")[0]))
    visitor.reload()
    expect(visitor.get_by_label("Search")).to_have_value("skyreels")
    expect(visitor.locator(".card")).to_have_count(1)


def test_filters_narrow_and_nothing_found_leads_back(visitor: Page):
    visitor.goto("/")
    visitor.get_by_label("Takes").select_option("image")
    expect(visitor.locator(".card")).to_have_count(1)
    visitor.get_by_label("Search").fill("no such words")
    expect(visitor.locator(".card")).to_have_count(0)
    visitor.get_by_role("link", name="Show all of them").click()
    expect(visitor.locator(".card")).to_have_count(3)


def test_a_pinned_target_stands_in_every_link_text_and_request(visitor: Page):
    visitor.goto(f"/models/{SVD}?gpu_type=L40S&region=eu-north1")
    expect(visitor.locator("section", has_text="Selected target").first).to_contain_text("L40S in eu-north1 is pinned")
    expect(visitor.locator("tr.is-selected th")).to_contain_text("L40S")
    for kind in ("curl", "python", "grpc", "env"):
        assert "L40S" in (visitor.locator(f"#text-{kind}-text").text_content() or "")
    assert visitor.get_by_label("Target", exact=True).input_value() == "L40S@eu-north1"
    visitor.get_by_role("link", name="Let Forge choose").click()
    expect(visitor.get_by_text("Any target:")).to_be_visible()
    assert "L40S" not in (visitor.locator("#text-curl-text").text_content() or "L40S")


def test_a_target_is_chosen_on_the_page(visitor: Page):
    visitor.goto(f"/models/{SKYREELS}")
    visitor.get_by_label("Device").select_option("H200")
    visitor.get_by_label("Region", exact=True).select_option("eu-north2")
    visitor.get_by_role("button", name="Select", exact=True).click()
    expect(visitor.get_by_text("H200 in eu-north2 is pinned")).to_be_visible()


def test_a_target_that_is_not_known_is_named_and_the_page_goes_on(visitor: Page):
    response = visitor.goto(f"/models/{SVD}?gpu_type=B2000")
    assert response is not None
    assert response.status == 200
    expect(visitor.get_by_role("status").filter(has_text="did you mean 'B200'?")).to_be_visible()


def test_the_baseline_moves_without_leaving_the_page(visitor: Page):
    visitor.goto(f"/models/{SKYREELS}")
    row = visitor.locator("tr", has_text="RTX6000")
    expect(visitor.locator("caption").first).to_contain_text("B200 in us-central1")
    row.get_by_role("link", name="compare with it").click()
    expect(visitor.locator("caption").first).to_contain_text("RTX6000 in us-central1")
    expect(row).to_contain_text("baseline")
    assert "baseline=RTX6000%40us-central1" in visitor.url


def test_what_is_not_there_is_a_page_that_says_so(visitor: Page):
    for address in ("/models/nope", "/nowhere", f"/models/{SVD}?model_version=nope"):
        response = visitor.goto(address)
        assert response is not None
        assert response.status == 404
        expect(visitor.get_by_role("heading", name="Not found")).to_be_visible()
