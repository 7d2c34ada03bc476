"""Composition root of the web service."""

import asyncio
from contextlib import AsyncExitStack

from services.chassis.process import run, settings_of
from services.chassis.secret_files import SecretFile
from services.chassis.trust import Trust
from services.web.adapters.contract import contract_at
from services.web.adapters.signed_links import SignedLinks
from services.web.adapters.uvicorn_server import serving
from services.web.app import application
from services.web.config import WebSettings
from services.web.site import Site


async def serve(settings: WebSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    trust = Trust.of("web", settings)
    async with AsyncExitStack() as stack:
        contract = await stack.enter_async_context(contract_at(settings, trust))
        app = application(Site(contract, settings, SignedLinks.with_secret_in(SecretFile(settings.link_secret_path))))
        await stack.enter_async_context(
            serving(settings.web_address, app, grace_seconds=settings.shutdown_grace_seconds, trust=trust)
        )
        await told_to_stop.wait()


def main() -> None:
    """Run the service."""
    settings = settings_of(WebSettings)
    run("web", settings, lambda told_to_stop: serve(settings, told_to_stop))


if __name__ == "__main__":
    main()
