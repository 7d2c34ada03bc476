"""Keys in a browser: made, shown once, rotated, revoked; and what renders have cost."""

from collections.abc import Callable

import httpx
from playwright.sync_api import Page, expect

from tests.browser.conftest import sign_in
from tests.platforms import SKYREELS, Platform, eventually


def opens(platform: Platform, secret: str) -> bool:
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.get(f"{platform.url}/v1/account", headers=headers, trust_env=False).status_code == 200


def make_key(page: Page, name: str, *, admin: bool = False) -> str:
    page.get_by_label("Name", exact=True).fill(name)
    if admin:
        page.get_by_label("admin", exact=True).check()
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator("#secret-text")).to_contain_text("forge_")
    return page.locator("#secret-text").inner_text()


def test_a_key_is_made_shown_once_and_revoked(page: Page, platform: Platform):
    page.goto("/account")
    secret = make_key(page, "nightly job")
    assert opens(platform, secret)
    row = page.get_by_role("row", name="nightly job")
    expect(row).to_contain_text("works")
    page.get_by_role("button", name="I have kept it").click()
    page.reload()
    assert secret not in page.content()
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep").or_(
        page.get_by_role("dialog").get_by_role("button", name="Cancel")
    ).first.click()
    assert opens(platform, secret)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row", name="nightly job")).to_have_count(0)
    eventually(lambda: not opens(platform, secret), seconds=10, what="the end of the key")


def test_a_rotated_key_works_beside_its_successor_until_it_is_revoked(page: Page, platform: Platform):
    page.goto("/account")
    old = make_key(page, "rotating")
    page.get_by_role("button", name="I have kept it").click()
    page.get_by_role("row", name="rotating").get_by_role("button", name="Rotate").click()
    expect(page.locator("#rotated")).to_contain_text("works on until 20")
    expect(page.get_by_role("row", name="rotating").filter(has_text="replaced by")).to_have_count(1)
    new = page.locator("#secret-text").inner_text()
    assert new != old
    assert opens(platform, old)
    assert opens(platform, new)
    page.get_by_role("button", name="Revoke the old key").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    eventually(lambda: not opens(platform, old), seconds=10, what="the end of the old key")
    assert opens(platform, new)


def test_what_is_wrong_with_a_key_stands_at_its_field(page: Page):
    page.goto("/account")
    page.get_by_label("Name", exact=True).fill("x" * 101)
    page.get_by_role("button", name="Make the key").click()
    name = page.get_by_label("Name", exact=True)
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("must have 1 to 100 characters")).to_be_visible()


def test_a_key_without_admin_is_told_why_it_sees_no_keys(page: Page, platform: Platform, opened: Callable[..., Page]):
    page.goto("/account")
    reader = opened()
    sign_in(reader, make_key(page, "reader"))
    reader.goto("/account")
    expect(reader.get_by_role("main")).to_contain_text("without the scope admin")
    expect(reader.locator("#keys")).to_have_count(0)


def test_what_renders_cost_adds_up_to_the_microdollar(page: Page, platform: Platform):
    with platform.client() as client:
        client.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).raise_for_status()
        eventually(lambda: client.get("/v1/usage").json()["renders"], what="usage")
    page.goto("/account")
    table = page.get_by_role("table").filter(has_text="GPU seconds")
    costs = [text for row in table.locator("tbody tr").all() for text in row.locator("td").last.all_inner_texts()]
    total = table.locator("tfoot tr, tr").last.locator("td").last.inner_text()
    micro = [round(float(cost.strip("$").replace(",", "")) * 1e6) for cost in costs]
    rows = micro[:-1] if table.locator("tfoot").count() == 0 else micro
    assert sum(rows) == round(float(total.strip("$").replace(",", "")) * 1e6)
    expect(page.get_by_role("img", name="Cost per day")).to_be_visible()
