"""Composition root of the web service."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

from services.chassis.process import run
from services.chassis.secret_files import SecretFile
from services.web.adapters.contract import contract_at
from services.web.adapters.signed_links import SignedLinks
from services.web.app import application
from services.web.config import WebSettings
from services.web.site import Site

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """A server that leaves signals to the process it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def serving(address: str, app: ASGIApp, *, grace_seconds: float) -> AsyncIterator[None]:
    """Serve `app` on "host:port" until the block ends; requests under way get `grace_seconds` to finish."""
    host, _, port = address.rpartition(":")
    config = uvicorn.Config(
        app,
        host=host,
        port=int(port),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=3600,  # the edge closes its connections; one that closed first would fail requests
        timeout_graceful_shutdown=max(1, round(grace_seconds)),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        log.info("serving", address=address)
        yield
    finally:
        server.should_exit = True
        await task
        log.info("stopped")


async def serve(settings: WebSettings, told_to_stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    async with AsyncExitStack() as stack:
        contract = await stack.enter_async_context(contract_at(settings))
        app = application(Site(contract, settings, SignedLinks.with_secret_in(SecretFile(settings.link_secret_path))))
        await stack.enter_async_context(
            serving(settings.web_address, app, grace_seconds=settings.shutdown_grace_seconds)
        )
        await told_to_stop.wait()


def main() -> None:
    """Run the service."""
    settings = WebSettings()
    run("web", settings, lambda told_to_stop: serve(settings, told_to_stop))


if __name__ == "__main__":
    main()
