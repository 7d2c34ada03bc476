"""Sessions in a browser."""

import httpx
from playwright.sync_api import Page, expect

from tests.platforms import SVD, Platform


def test_signing_in_leads_back_to_where_one_was_and_leaves_no_key_behind(visitor: Page, platform: Platform):
    visitor.goto(f"/models/{SVD}?gpu_type=L40S")
    visitor.get_by_role("banner").get_by_role("link", name="Sign in").click()
    visitor.get_by_label("API key").fill(platform.key)
    visitor.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(visitor.get_by_role("button", name="Sign out")).to_be_visible()
    assert visitor.url.endswith(f"/models/{SVD}?gpu_type=L40S")
    (cookie,) = visitor.context.cookies()
    assert (cookie.get("name"), cookie.get("httpOnly"), cookie.get("sameSite")) == ("forge_session", True, "Lax")
    assert platform.key not in str(visitor.context.storage_state()) + visitor.content()


def test_a_wrong_key_is_told_so_at_its_field(visitor: Page):
    visitor.goto("/sign-in")
    visitor.get_by_label("API key").fill("forge_local_nonsense")
    visitor.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(visitor.get_by_role("alert")).to_contain_text("no API key that works here")
    expect(visitor.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
    assert visitor.context.cookies() == []


def test_signing_out_ends_the_session_everywhere(page: Page, platform: Platform):
    (cookie,) = page.context.cookies()
    jar = {"forge_session": cookie.get("value", "")}
    assert httpx.get(f"{platform.url}/v1/account", cookies=jar, trust_env=False).status_code == 200
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("banner").get_by_role("link", name="Sign in")).to_be_visible()
    assert httpx.get(f"{platform.url}/v1/account", cookies=jar, trust_env=False).status_code == 401


def test_nobody_is_led_to_another_site(visitor: Page, platform: Platform):
    for address in ("//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"):
        visitor.goto(f"/sign-in?next={address}")
        assert visitor.locator("input[name=next]").input_value() == "/"


def test_a_page_of_another_origin_cannot_use_the_session(page: Page, platform: Platform):
    jar = {"forge_session": page.context.cookies()[0].get("value", "")}
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {}):
        for path in ("/sign-out", "/v1/renders", "/v1/api-keys"):
            forged = httpx.post(f"{platform.url}{path}", cookies=jar, headers=headers, trust_env=False)
            assert forged.status_code == 403
            assert forged.json()["details"][0]["reason"] == "CROSS_ORIGIN"
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_pages_of_an_account_ask_visitors_to_sign_in(visitor: Page):
    for address in ("/account", "/renders"):
        visitor.goto(address)
        expect(visitor.get_by_role("heading", name="Sign in")).to_be_visible()
        assert visitor.locator("input[name=next]").input_value() == address
