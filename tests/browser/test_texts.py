"""Texts to copy do what they say."""

import os
import subprocess

from playwright.sync_api import Page, expect

from tests.platforms import SKYREELS, Platform


def test_a_text_is_copied_and_runs(page: Page, platform: Platform):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/models/{SKYREELS}?gpu_type=B200&region=us-central1")
    page.get_by_text("View command").click()
    page.locator("#text-check").get_by_role("button", name="Copy").click()
    expect(page.locator("#text-check").get_by_role("button")).to_have_text("Copied")
    text = page.evaluate("navigator.clipboard.readText()")
    assert platform.key not in text
    ran = subprocess.run(
        ["bash", "-c", text],
        env=os.environ | {"FORGE_API_KEY": platform.key, "FORGE_API_BASE": platform.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert "B200" in ran.stdout
