"""The catalogue: every model, found by words, modality and tag."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from forge.catalog.v1 import catalog_service_pb2
from forge.scheduler.v1 import runtime_service_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.web.adapters.contract import all_of, ask, ask_or_none
from services.web.site import Site, reader_of, site_of
from services.web.viewer import Viewer

_MOST_TAGS = 12
_PAGE = 24


async def show(request: Request) -> Response:
    """Cards of the models that fit."""
    site, viewer = site_of(request), reader_of(request)
    wanted = {name: request.query_params.get(name, "") for name in ("query", "modality", "tag")}
    found, everything = await all_of(
        ask(
            site.contract.catalog.ListModels,
            catalog_service_pb2.ListModelsRequest(
                **wanted, page_size=_PAGE, page_token=request.query_params.get("page_token", "")
            ),
            viewer.caller,
        ),
        ask(site.contract.catalog.ListModels, catalog_service_pb2.ListModelsRequest(page_size=100), viewer.caller),
    )
    cards = await all_of(*(_card(site, viewer, model) for model in found["models"]))
    return site.page(
        request,
        "catalogue.html",
        cards=cards,
        total=found["total_size"],
        next_page_token=found["next_page_token"],
        wanted=wanted,
        modalities=_most_common(model["input_modalities"] for model in everything["models"]),
        tags=_most_common(model["tags"] for model in everything["models"])[:_MOST_TAGS],
    )


async def _card(site: Site, viewer: Viewer, model: dict[str, Any]) -> dict[str, Any]:
    """A model, how warm it is, and its best targets as far as somebody says."""
    slug = model["slug"]
    targets, status = await all_of(
        ask_or_none(
            site.contract.catalog.ListTargets, catalog_service_pb2.ListTargetsRequest(slug=slug), viewer.caller
        ),
        ask_or_none(
            site.contract.runtimes.GetFamilyStatus,
            runtime_service_pb2.GetFamilyStatusRequest(slug=slug),
            viewer.caller,
        ),
    )
    rows = (targets or {}).get("targets", [])
    return {
        "model": model,
        "status": (status or {}).get("status", ""),
        "fastest": _least(rows, "request_ms"),
        "cheapest": _least(rows, "estimated_warm_request_cost_usd"),
        "supported_rows": (targets or {}).get("supported_rows", 0),
        "total_rows": (targets or {}).get("total_rows", 0),
    }


def _least(rows: Iterable[dict[str, Any]], measure: str) -> dict[str, Any] | None:
    """The offered row with the least of something, supported ones first."""
    known = [row for row in rows if measure in row and row["offered"]]
    return min(known, key=lambda row: (row["status"] != "supported", row[measure]), default=None)


def _most_common(groups: Iterable[Iterable[str]]) -> list[str]:
    return [name for name, _ in Counter(name for group in groups for name in group).most_common()]


ROUTES = [Route("/", show)]
