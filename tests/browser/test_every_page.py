"""What holds for every page: for screen readers, for the policy, for narrow windows, and without scripts."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_in
from tests.platforms import SKYREELS, SVD, Platform

WIDTHS = {"narrow": 390, "wide": 1280}
LONG = "reference"  # the same few elements hundreds of times: seconds for each look
# Themes differ by their colours only.
AXE = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast"]},
}


@pytest.fixture(scope="session")
def pages(platform: Platform) -> dict[str, str]:
    """Every page by name; renders that ended, one of them badly, are among what they show."""
    with platform.client() as client:
        done = client.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).json()
        going = client.post("/v1/renders", json=platform.small(SVD, num_inference_steps=100)).json()
        client.post(f"/v1/renders/{going['id']}/cancel")
    return {
        "catalogue": "/",
        "model": f"/models/{SVD}?gpu_type=L40S&region=eu-north1",
        "renders": "/renders",
        "render": f"/renders/{done['id']}",
        "canceled": f"/renders/{going['id']}",
        "status": "/status",
        "account": "/account",
        "docs": "/docs",
        "document": "/docs/architecture",
        "reference": "/docs/api",
        "sign-in": "/sign-in",
        "missing": "/nowhere",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_in_each_theme_and_width(
    scheme: str, pages: dict[str, str], opened: Callable[..., Page], platform: Platform, screens: Path
):
    faults: list[str] = []
    for width_name, width in WIDTHS.items():
        page = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
        sign_in(page, platform.key)
        for name, address in pages.items():
            page.goto(address)
            page.wait_for_load_state("load")
            page.screenshot(path=screens / f"{name}-{scheme}-{width_name}.png", full_page=name != LONG)
            if (beyond := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
                faults.append(f"{name}, {width_name}: {beyond} px too wide")
            if name == LONG and (scheme, width_name) != ("light", "wide"):
                continue
            for found in Axe().run(page, options=AXE[scheme]).response["violations"]:
                nodes = [node["target"] for node in found["nodes"][:3]]
                faults.append(f"{name}, {width_name}: {found['impact']} {found['id']} at {nodes}")
    assert faults == []


def test_every_page_can_be_read_without_scripts(pages: dict[str, str], opened: Callable[..., Page], platform: Platform):
    page = opened(java_script_enabled=False)
    sign_in(page, platform.key)
    for address in pages.values():
        page.goto(address)
        assert page.get_by_role("heading", level=1).text_content()
        assert len(page.get_by_role("main").text_content() or "") > 40
    page.goto(pages["model"])
    expect(page.get_by_role("rowheader", name="RTX6000")).to_be_visible()
    assert "curl" in (page.locator("#text-curl-text").text_content() or "")


def test_no_page_has_a_script_or_a_style_in_its_text(pages: dict[str, str], platform: Platform):
    with platform.client() as client:
        for address in pages.values():
            answer = client.get(address, headers={"accept": "text/html"})
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=\"|javascript:", answer.text)


def test_the_first_page_is_small(visitor: Page):
    sizes: list[int] = []
    visitor.on("requestfinished", lambda request: sizes.append(_transferred(request)))
    visitor.goto("/")
    visitor.wait_for_load_state("networkidle")
    assert len(sizes) >= 4
    assert sum(sizes) < 100_000


def _transferred(request) -> int:
    found = request.sizes()
    return found["responseBodySize"] + found["responseHeadersSize"]


def test_static_files_are_kept_for_ever_and_change_their_address(platform: Platform):
    html = httpx.get(platform.url, trust_env=False).text
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', html):
        answer = httpx.get(platform.url + address, trust_env=False)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]


def test_the_keyboard_reaches_the_content_first_and_sees_where_it_is(visitor: Page):
    visitor.goto("/")
    visitor.keyboard.press("Tab")
    skip = visitor.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    visitor.keyboard.press("Enter")
    expect(visitor.get_by_role("main")).to_be_focused()
    visitor.keyboard.press("Tab")
    expect(visitor.get_by_label("Search")).to_be_focused()


def test_a_chosen_theme_stays(visitor: Page):
    visitor.goto("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = visitor.evaluate(ground)
    visitor.get_by_role("button", name="Theme").click()
    dark = visitor.evaluate(ground)
    assert dark != light
    visitor.goto("/docs")
    assert visitor.evaluate(ground) == dark
