"""Renders: the account's list of them, and the page of one."""

from datetime import UTC, datetime
from typing import Any

from forge.billing.v1 import billing_estimate_service_pb2
from forge.catalog.v1 import catalog_service_pb2
from forge.scheduler.v1 import render_service_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis.errors import ForgeError, Kind
from services.web.adapters.contract import all_of, ask, ask_or_none
from services.web.adapters.event_log import log_up_to
from services.web.domain import progress
from services.web.domain.event_lines import lines_of
from services.web.domain.span_tree import tree_of
from services.web.domain.timeline import PHASES, timeline_of
from services.web.site import Site, site_of
from services.web.viewer import Viewer, known_viewer_of

_PAGE = 20


async def show_all(request: Request) -> Response:
    """The account's renders, newest first."""
    site, viewer = site_of(request), known_viewer_of(request)
    wanted = {name: request.query_params.get(name, "") for name in ("status", "model")}
    page_token = request.query_params.get("page_token", "")
    found, models = await all_of(
        ask(
            site.contract.renders.ListRenders,
            render_service_pb2.ListRendersRequest(
                status=wanted["status"], model=wanted["model"], page_size=_PAGE, page_token=page_token
            ),
            viewer.caller,
        ),
        ask_or_none(
            site.contract.catalog.ListModels, catalog_service_pb2.ListModelsRequest(page_size=100), viewer.caller
        ),
    )
    now = datetime.now(UTC)
    return site.page(
        request,
        "renders.html",
        rows=[_row(render, now) for render in found["renders"]],
        next_page_token=found["next_page_token"],
        is_first_page=not page_token,
        is_under_way=any(render["status"] in progress.MOVING for render in found["renders"]),
        wanted=wanted,
        statuses=progress.STATUSES,
        models=[model["slug"] for model in (models or {}).get("models", [])],
    )


async def show(request: Request) -> Response:
    """One render: how far it is, its pictures, what took how long, and what that cost."""
    site, viewer = site_of(request), known_viewer_of(request)
    render_id = request.path_params["render_id"]
    render = await ask(
        site.contract.renders.GetRender, render_service_pb2.GetRenderRequest(render_id=render_id), viewer.caller
    )
    (receipt, why_no_receipt), events, trace = await all_of(
        _receipt(site, viewer, render_id), _log(site, viewer, render), _trace(site, viewer, render_id)
    )
    now = datetime.now(UTC)
    is_whole_log = bool(events) and events[-1]["seq"] >= render["last_seq"]
    return site.page(
        request,
        "render.html",
        render={"timing": {}} | render,
        progress_text=progress.progress_text(render),
        is_over=progress.is_over(render["status"]),
        actions=progress.actions(render, may_render=viewer.may("inference")),
        may_render=viewer.may("inference"),
        remedy=progress.remedy(render.get("error")),
        took_seconds=progress.took_seconds(render, now),
        frames=progress.frames(events),
        events=events,
        lines=lines_of(events),
        is_whole_log=is_whole_log,
        timeline=timeline_of(render, events if is_whole_log else (), now),
        phases=PHASES,
        receipt=receipt,
        why_no_receipt=why_no_receipt,
        spans=tree_of(trace.get("spans", ())),
        why_no_spans=trace.get("note", ""),
    )


def _row(render: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "render": render,
        "progress_text": progress.progress_text(render),
        "is_under_way": render["status"] in progress.MOVING,
        "took_seconds": progress.took_seconds(render, now),
        "since_seconds": progress.since_seconds(render, now),
    }


async def _receipt(site: Site, viewer: Viewer, render_id: str) -> tuple[dict[str, Any] | None, str]:
    """The receipt, or why there is none."""
    wanted = billing_estimate_service_pb2.GetReceiptRequest(render_id=render_id)
    try:
        return await ask(site.contract.billing.GetReceipt, wanted, viewer.caller), ""
    except ForgeError as error:
        if error.kind is Kind.NOT_FOUND:
            return None, "There is no receipt yet: it begins when the first attempt has ended."
        return None, f"The receipt cannot be shown now: {error.message}."


async def _trace(site: Site, viewer: Viewer, render_id: str) -> dict[str, Any]:
    """The spans; none where they cannot be had now: the page shows what the render has on record instead."""
    wanted = render_service_pb2.GetRenderTraceRequest(render_id=render_id)
    return await ask_or_none(site.contract.renders.GetRenderTrace, wanted, viewer.caller) or {}


async def _log(site: Site, viewer: Viewer, render: dict[str, Any]) -> list[dict[str, Any]]:
    """The log so far; empty when it cannot be read now, which the rest of the page does not need."""
    try:
        return await log_up_to(render["last_seq"], site.contract.renders.WatchRender, render["id"], viewer.caller)
    except ForgeError:
        return []


ROUTES = [Route("/renders", show_all), Route("/renders/{render_id}", show)]
