"""A running platform and a real Chromium in front of it. Whatever a page complains of in its console fails its test."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests import small_examples
from tests.platforms import SKYREELS, SVD, Platform, running

# What is enough for previews, pieces of the video and a cancel on the way, and done in some seconds.
EXAMPLES = {
    SVD: {"width": 256, "height": 256, "num_frames": 8, "num_inference_steps": 25},
    SKYREELS: {"width": 320, "height": 192, "num_frames": 97, "num_inference_steps": 10},
}
_ARGUMENTS = (
    "--no-sandbox",  # tests may run as root
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_EXPECTED_COMPLAINTS = ("the server responded with a status of 4",)  # what the tests ask for: a browser logs each


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform with the fleet of the pages and short examples."""
    folder = tmp_path_factory.mktemp("browser")
    config = small_examples.write(folder / "config", EXAMPLES)
    with running(Platform(folder / "home", "pages", {"FORGE_CONFIG_DIR": str(config)})) as subject:
        yield subject


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium of this machine."""
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert executable, "tests in a browser need Chromium: apt-get install chromium, or make browser as root"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def opened(platform: Platform, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages, each in a context of its own, and sees at the end that none complained."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(known in message.text for known in _EXPECTED_COMPLAINTS):
            complaints.append(f"{message.type}: {message.text}")

    def open_page(**options: object) -> Page:
        context = browser.new_context(base_url=platform.url, **options)  # pyright: ignore[reportArgumentType] — as given
        contexts.append(context)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def visitor(opened: Callable[..., Page]) -> Page:
    """Somebody who is not signed in."""
    return opened()


@pytest.fixture
def page(opened: Callable[..., Page], platform: Platform) -> Page:
    """Somebody who signed in with the first key."""
    found = opened()
    sign_in(found, platform.key)
    return found


def sign_in(page: Page, key: str) -> None:
    """Sign in as its user does."""
    page.goto("/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")


@pytest.fixture(scope="session")
def screens() -> Path:
    """Where screenshots are left to be looked at."""
    folder = Path(__file__).parents[2] / "build" / "screens"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
