"""Who is signed in: the account, its keys, and what it used and paid."""

from datetime import UTC, datetime, timedelta
from typing import Any

from forge.accounts.v1 import account_service_pb2
from forge.billing.v1 import billing_estimate_service_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis.errors import Kind
from services.web.adapters.contract import all_of, ask
from services.web.domain import keys
from services.web.domain.chart import Unit, stacked, time_unit
from services.web.domain.usage import Amounts, amounts_of, calendar_of, groups_of, series_of
from services.web.domain.words import dollars, seconds
from services.web.pages.sections import Section, section
from services.web.site import Site, site_of
from services.web.viewer import Viewer, known_viewer_of

_PERIODS_DAYS = (7, 30, 90)


async def show(request: Request) -> Response:
    """The page. What needs the scope admin is there only for those who have it."""
    site, viewer = site_of(request), known_viewer_of(request)
    now = datetime.now(UTC)
    wanted = {name: request.query_params.get(name, "") for name in ("since", "until")}
    account, listed, usage, calibrations = await all_of(
        section(ask(site.contract.accounts.GetAccount, account_service_pb2.GetAccountRequest(), viewer.caller)),
        _keys(site, viewer),
        section(
            ask(
                site.contract.billing.GetUsage,
                billing_estimate_service_pb2.GetUsageRequest(**wanted),
                viewer.caller,
            )
        ),
        section(
            ask(
                site.contract.billing.ListCalibrations,
                billing_estimate_service_pb2.ListCalibrationsRequest(),
                viewer.caller,
            )
        ),
    )
    rows = keys.rows_of(listed.facts.get("api_keys", ()), now, viewer.caller.key_id) if listed else []
    names = {row.key["id"]: row.key["name"] for row in rows}
    answer = site.page(
        request,
        "account.html",
        account=account,
        listed=listed,
        rows=rows,
        scopes=keys.SCOPES,
        default_scopes=keys.DEFAULT_SCOPES,
        usage=usage,
        used=_used(usage, names) if usage.is_there else None,
        wanted=wanted,
        wrong=_wrong(usage),
        periods=[(days, (now - timedelta(days=days - 1)).date().isoformat()) for days in _PERIODS_DAYS],
        calibrations=calibrations,
    )
    answer.headers["cache-control"] = "no-store"  # nobody finds an account's page after its owner has signed out
    return answer


async def _keys(site: Site, viewer: Viewer) -> Section | None:
    """The account's keys; None for those who may not see them."""
    if not viewer.may("admin"):
        return None
    wanted = account_service_pb2.ListApiKeysRequest()
    return await section(ask(site.contract.accounts.ListApiKeys, wanted, viewer.caller))


def _used(usage: Section, key_names: dict[str, str]) -> dict[str, Any]:
    """The use as charts, groups and rows. `key_names` names the keys that are known by more than their id."""
    facts = usage.facts
    rows = facts["rows"]
    calendar = calendar_of(facts["since"], facts["until"], rows)
    times = series_of(rows, calendar, _gpu_seconds)
    return {
        "unit": calendar.unit,
        "cost": stacked(calendar.periods, series_of(rows, calendar, _cost_usd), dollars, Unit(1.0, dollars)),
        "time": stacked(calendar.periods, times, seconds, time_unit(times)),
        "models": groups_of(rows, lambda row: row["slug"]),
        "keys": groups_of(rows, lambda row: row["api_key_id"]),
        "sum": amounts_of(rows),
        "key_names": key_names,
    }


def _cost_usd(amounts: Amounts) -> float:
    return amounts.cost_usd


def _gpu_seconds(amounts: Amounts) -> float:
    return amounts.gpu_seconds


def _wrong(usage: Section) -> dict[str, str]:
    """What is wrong with the days that were asked for, by field."""
    if usage.error is None or usage.error.kind is not Kind.INVALID:
        return {}
    return {violation.field: violation.description for violation in usage.error.violations}


ROUTES = [Route("/account", show)]
