"""What the tests of pages share: the real application over services whose answers are stated."""

import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from services.web.adapters.contract import contract_at
from services.web.adapters.signed_links import SignedLinks
from services.web.app import application
from services.web.config import WebSettings
from services.web.site import Site
from tests.unit.web.fake_platform import SERVICES, Platform


@dataclass
class Browser:
    """Opens pages as somebody with a session; as a visitor without `scopes`."""

    platform: Platform
    stack: AsyncExitStack
    nowhere: str
    """An address where nothing listens."""

    async def open(self, path: str, *, scopes: str = "", away: Collection[str] = (), **settings: Any) -> httpx.Response:
        """The answer of the web service where the services in `away` do not answer. Redirects are not followed."""
        addresses: dict[str, Any] = {
            f"{name}_address": self.nowhere
            if name in away
            else f"127.0.0.1:{await self.stack.enter_async_context(self.platform.serving(name))}"
            for name in SERVICES
        }
        site_settings = WebSettings(**(addresses | settings))
        contract = await self.stack.enter_async_context(contract_at(site_settings))
        transport = httpx.ASGITransport(app=application(Site(contract, site_settings, SignedLinks("a secret"))))
        client = await self.stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://forge.test")
        )
        headers = {"accept": "text/html"}
        if scopes:
            headers |= {"x-forge-account": "studio", "x-forge-key-id": "key_1", "x-forge-scopes": scopes}
            headers |= {"x-forge-session": "ses_1"}
        return await client.get(path, headers=headers)


@pytest.fixture
def platform() -> Platform:
    """Services that know of nothing until a test says what they answer."""
    return Platform()


@pytest.fixture
async def browser(platform: Platform) -> AsyncIterator[Browser]:
    """Somebody in front of the pages of `platform`."""
    with socket.socket() as taken:  # bound, and never listened on
        taken.bind(("127.0.0.1", 0))
        async with AsyncExitStack() as stack:
            yield Browser(platform, stack, f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.fixture
def open_page(browser: Browser) -> Callable[..., Any]:
    """Opens a page."""
    return browser.open
