"""The fleet as it stands: what is free, warm, queued, spared, and what failed lately."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from forge.accounts.v1 import account_service_pb2
from forge.billing.v1 import billing_estimate_service_pb2
from forge.catalog.v1 import catalog_service_pb2
from forge.scheduler.v1 import probe_service_pb2, runtime_service_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.web.adapters.contract import all_of, ask
from services.web.domain.fleet import failures_of, sums_of, targets_of
from services.web.pages.sections import Section, section
from services.web.site import Site, reader_of, site_of
from services.web.viewer import Viewer

_MOST_MODELS = 100
_MOST_MEASUREMENTS = 50
_MOST_PROBES = 20
_UNDER_WAY = ("queued", "running")


async def show(request: Request) -> Response:
    """The page; its script asks for it again and again."""
    site, viewer = site_of(request), reader_of(request)
    contract = site.contract
    (capacity, billing, accounts), (models, runtimes, measurements), probes = await all_of(
        all_of(
            section(ask(contract.runtimes.GetCapacity, runtime_service_pb2.GetCapacityRequest(), viewer.caller)),
            section(ask(contract.billing.ListPrices, billing_estimate_service_pb2.ListPricesRequest(), viewer.caller)),
            section(ask(contract.accounts.GetAccount, account_service_pb2.GetAccountRequest(), viewer.caller)),
        ),
        _models(site, viewer),
        _probes(site, viewer),
    )
    targets = targets_of(
        capacity.facts.get("targets", ()), [found for told in runtimes for found in told.facts.get("runtimes", ())]
    )
    return site.page(
        request,
        "status.html",
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        services=[
            ("catalog", not models.is_service_away),
            ("scheduler", not capacity.is_service_away),
            ("billing-estimate", not billing.is_service_away),
            ("accounts", not accounts.is_service_away),
        ],
        capacity=capacity,
        targets=targets,
        sums=sums_of(targets),
        knows_runtimes=models.is_there and all(told.is_there for told in runtimes),
        knows_measurements=models.is_there and all(told.is_there for told in measurements),
        failures=failures_of(found for told in measurements for found in told.facts.get("measurements", ())),
        looked_at=sum(len(told.facts.get("measurements", ())) for told in measurements),
        probes=probes,
    )


async def _models(site: Site, viewer: Viewer) -> tuple[Section, Sequence[Section], Sequence[Section]]:
    """The models, and of each version of each its runtimes and its newest measurements."""
    models = await section(
        ask(
            site.contract.catalog.ListModels,
            catalog_service_pb2.ListModelsRequest(page_size=_MOST_MODELS),
            viewer.caller,
        )
    )
    versions = [(m["slug"], found["version"]) for m in models.facts.get("models", ()) for found in m["versions"]]
    asked = [(_runtimes(site, viewer, *version), _measurements(site, viewer, *version)) for version in versions]
    told = await all_of(*chain.from_iterable(asked))
    return models, told[::2], told[1::2]


async def _runtimes(site: Site, viewer: Viewer, slug: str, version: str) -> Section:
    wanted = runtime_service_pb2.GetFamilyStatusRequest(slug=slug, version=version)
    return await section(ask(site.contract.runtimes.GetFamilyStatus, wanted, viewer.caller))


async def _measurements(site: Site, viewer: Viewer, slug: str, version: str) -> Section:
    wanted = catalog_service_pb2.ListMeasurementsRequest(slug=slug, model_version=version, page_size=_MOST_MEASUREMENTS)
    return await section(ask(site.contract.catalog.ListMeasurements, wanted, viewer.caller))


async def _probes(site: Site, viewer: Viewer) -> dict[str, Any] | None:
    """Probes under way; None for those who may not see them."""
    if not viewer.may("admin"):
        return None
    told = await all_of(
        *(
            section(
                ask(
                    site.contract.probes.ListProbes,
                    probe_service_pb2.ListProbesRequest(status=status, page_size=_MOST_PROBES),
                    viewer.caller,
                )
            )
            for status in _UNDER_WAY
        )
    )
    return {
        "is_there": all(found.is_there for found in told),
        "found": [probe for found in reversed(told) for probe in found.facts.get("probes", ())],
    }


ROUTES = [Route("/status", show)]
