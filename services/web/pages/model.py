"""A model's page: what it is, where it runs, what that takes, and trying it out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from forge.billing.v1 import billing_estimate_service_pb2
from forge.catalog.v1 import catalog_service_pb2
from forge.scheduler.v1 import render_service_pb2, runtime_service_pb2
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis.errors import ForgeError, Kind
from services.web.adapters.contract import all_of, ask, ask_or_none
from services.web.adapters.pictures import shown_as_png
from services.web.domain.forms import fields_of, rules_of
from services.web.domain.performance import readiness_of, table_of
from services.web.site import Site, base_url_of, reader_of, site_of
from services.web.viewer import Viewer, known_viewer_of

_REQUESTS = ("curl", "python", "javascript", "python_grpc", "grpc")
_PREFLIGHT = ("reliability", "estimate", "status", "warm_up")
_DEPLOYMENTS = ("docker", "kubernetes", "nebius")
_HISTORY = 8


@dataclass(frozen=True)
class Selection:
    """What a page is about: it stands in its address, and every link of the page keeps it."""

    slug: str
    model_version: str = ""
    gpu_type: str = ""
    region: str = ""
    baseline: str = ""

    @classmethod
    def of(cls, request: Request) -> "Selection":
        """The selection in a request's address. `version` is another name of `model_version`."""
        query = request.query_params
        return cls(
            slug=request.path_params["slug"],
            model_version=query.get("model_version", "") or query.get("version", ""),
            gpu_type=query.get("gpu_type", ""),
            region=query.get("region", ""),
            baseline=query.get("baseline", ""),
        )

    @property
    def is_pinned(self) -> bool:
        """Whether a device or a region was chosen."""
        return bool(self.gpu_type or self.region)

    @property
    def pin(self) -> dict[str, str]:
        """The pin as the contract's fields."""
        return {"gpu_type": self.gpu_type, "region": self.region}

    def address(self, part: str = "", **changes: str) -> str:
        """The page's address with the selection, some of it changed; `part` is where on the page."""
        changed = replace(self, **changes)
        query = {
            name: getattr(changed, name)
            for name in ("model_version", "gpu_type", "region", "baseline")
            if getattr(changed, name)
        }
        return f"/models/{self.slug}{'?' if query else ''}{urlencode(query)}{'#' if part else ''}{part}"

    def api(self, path: str, **more: str) -> str:
        """A path of the API about the selection, with its version and pin in the query."""
        fields = {"model_version": self.model_version, **self.pin, **more}
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"/v1/models/{self.slug}/{path}{'?' if query else ''}{query}"


async def show(request: Request) -> Response:
    """The whole page."""
    site, viewer = site_of(request), reader_of(request)
    wanted = Selection.of(request)
    catalog = site.contract.catalog
    model = await ask(catalog.GetModel, catalog_service_pb2.GetModelRequest(slug=wanted.slug), viewer.caller)
    versions = {version["version"]: version for version in model["versions"]}
    version = versions.get(wanted.model_version or model["default_version"])
    if version is None:
        raise ForgeError(
            f"{model['title']} has no version '{wanted.model_version}'; it has {', '.join(versions)}",
            kind=Kind.NOT_FOUND,
            reason="VERSION_NOT_FOUND",
        )
    selection, routes, notice = await _routes(site, viewer, replace(wanted, model_version=version["version"]))
    inputs, snippets, estimate, runtime, performance, history = await all_of(
        ask(
            catalog.GetInputSchema,
            catalog_service_pb2.GetInputSchemaRequest(slug=selection.slug, model_version=selection.model_version),
            viewer.caller,
        ),
        ask(
            catalog.GetSnippets,
            catalog_service_pb2.GetSnippetsRequest(
                slug=selection.slug,
                model_version=selection.model_version,
                base_url=base_url_of(request),
                **selection.pin,
            ),
            viewer.caller,
        ),
        ask_or_none(
            site.contract.billing.GetRunEstimate,
            billing_estimate_service_pb2.GetRunEstimateRequest(
                slug=selection.slug, model_version=selection.model_version, **selection.pin
            ),
            viewer.caller,
        ),
        _runtime(site, viewer, selection),
        _performance(site, viewer, selection),
        _history(site, viewer, selection),
    )
    texts = {snippet["kind"]: snippet for snippet in snippets["snippets"]}
    fields = fields_of(inputs["schema"], inputs["example"])
    return site.page(
        request,
        "model.html",
        model=model,
        version=version,
        selection=selection,
        routes=routes,
        notice=notice,
        estimate=estimate,
        fields=fields,
        rules=rules_of(inputs["schema"]),
        pictures=await run_in_threadpool(_pictures, fields),
        texts=texts,
        requests=[texts[kind] for kind in _REQUESTS if kind in texts],
        preflight=[texts[kind] for kind in _PREFLIGHT if kind in texts],
        deployments=[texts[kind] for kind in _DEPLOYMENTS if kind in texts],
        steps=_steps(selection),
        history=history,
        **runtime,
        **performance,
    )


async def runtime(request: Request) -> Response:
    """The runtime panel alone, for a page that watches it."""
    site, viewer, selection = site_of(request), reader_of(request), Selection.of(request)
    return site.page(request, "model_runtime.html", selection=selection, **await _runtime(site, viewer, selection))


async def history(request: Request) -> Response:
    """The newest renders of the account alone, for a playground that has made one."""
    site, viewer, selection = site_of(request), known_viewer_of(request), Selection.of(request)
    found = await _history(site, viewer, selection)
    return site.page(request, "model_history.html", selection=selection, history=found)


async def _routes(site: Site, viewer: Viewer, wanted: Selection) -> tuple[Selection, dict[str, Any], str]:
    """The selection that can be shown, where it could run, and a notice where that is not what was asked for."""

    def asked(selection: Selection) -> Any:
        return ask(
            site.contract.catalog.GetInferenceRoutes,
            catalog_service_pb2.GetInferenceRoutesRequest(
                slug=selection.slug, model_version=selection.model_version, **selection.pin
            ),
            viewer.caller,
        )

    try:
        return wanted, await asked(wanted), ""
    except ForgeError as error:
        if error.reason not in ("UNKNOWN_TARGET", "TARGET_NOT_OFFERED"):
            raise
        anywhere = replace(wanted, gpu_type="", region="")
        return anywhere, await asked(anywhere), error.message


async def _runtime(site: Site, viewer: Viewer, selection: Selection) -> dict[str, Any]:
    """How warm the version is and what is free."""
    family, capacity = await all_of(
        ask_or_none(
            site.contract.runtimes.GetFamilyStatus,
            runtime_service_pb2.GetFamilyStatusRequest(slug=selection.slug, version=selection.model_version),
            viewer.caller,
        ),
        ask_or_none(site.contract.runtimes.GetCapacity, runtime_service_pb2.GetCapacityRequest(), viewer.caller),
    )
    return {"family": family, "capacity": (capacity or {}).get("targets", [])}


async def _performance(site: Site, viewer: Viewer, selection: Selection) -> dict[str, Any]:
    """The performance table. A baseline that is none of its rows is no baseline."""

    def asked(baseline: str) -> Any:
        return ask(
            site.contract.catalog.ListTargets,
            catalog_service_pb2.ListTargetsRequest(
                slug=selection.slug, model_version=selection.model_version, baseline=baseline
            ),
            viewer.caller,
        )

    try:
        targets = await asked(selection.baseline)
    except ForgeError as error:
        if error.reason != "UNKNOWN_TARGET":
            raise
        targets = await asked("")
    return {
        "targets": targets,
        "lines": table_of(targets, selection.gpu_type, selection.region),
        "readiness": readiness_of(targets["targets"]),
        "slowest_ms": max((_time_ms(row) for row in targets["targets"]), default=0),
    }


async def _history(site: Site, viewer: Viewer, selection: Selection) -> list[dict[str, Any]]:
    """The account's newest renders of the model; none for a visitor."""
    if not viewer.is_known:
        return []
    found = await ask_or_none(
        site.contract.renders.ListRenders,
        render_service_pb2.ListRendersRequest(model=selection.slug, page_size=_HISTORY),
        viewer.caller,
    )
    return (found or {}).get("renders", [])


def _time_ms(row: Mapping[str, Any]) -> int:
    return row.get("request_ms_p50") or row.get("request_ms") or 0


def _pictures(fields: list[Any]) -> dict[str, str]:
    """The example's images in a form that browsers show, by name of the input."""
    return {field.name: shown_as_png(field.value) for field in fields if field.kind == "image" and field.value}


def _steps(selection: Selection) -> list[dict[str, Any]]:
    """The way to a first request: what each step is for, and the call that it runs."""
    family = f"/v1/model-families/{selection.slug}"
    start = {"version": selection.model_version, **selection.pin, "run_until_stopped": False}
    return [
        {
            "name": "verify",
            "title": "Verify target",
            "text": "Checks the key, the model, the version and the target, and says what is free there.",
            "method": "GET",
            "path": selection.api("inference-routes"),
            "scope": "read",
        },
        {
            "name": "validate",
            "title": "Validate target",
            "text": "Says whether the target is verified here, and which verified ones are fastest and cheapest.",
            "method": "GET",
            "path": selection.api("reliability"),
            "scope": "read",
        },
        {
            "name": "estimate",
            "title": "Estimate run",
            "text": "Time and cost of the example request, on a warm runtime and with a cold start.",
            "method": "GET",
            "path": selection.api("run-estimate"),
            "scope": "read",
        },
        {
            "name": "check",
            "title": "Check runtime",
            "text": "Whether the version is cold, starting or warm, and where.",
            "method": "GET",
            "path": f"{family}/status?{urlencode({'version': selection.model_version})}",
            "scope": "read",
        },
        {
            "name": "prewarm",
            "title": "Prewarm target",
            "text": "Starts the version before traffic that cannot wait. It costs its device until it has idled.",
            "method": "POST",
            "path": f"{family}/start",
            "body": {name: value for name, value in start.items() if value != ""},
            "scope": "inference",
        },
    ]


ROUTES = [
    Route("/models/{slug}", show),
    Route("/models/{slug}/runtime", runtime),
    Route("/models/{slug}/history", history),
]
