"""The API as an OpenAPI document, with the inputs of the models that this installation has."""

import hashlib
import json
from typing import Any

from forge.catalog.v1 import catalog_service_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.chassis.identity import Caller
from services.web.adapters.contract import all_of, ask_or_none
from services.web.adapters.openapi.document import ModelInputs, document, with_models
from services.web.site import Site, site_of
from services.web.viewer import viewer_of

_MOST_MODELS = 100


async def show(request: Request) -> Response:
    """The document. Where the catalogue is not to be seen or does not answer, it is without models."""
    site, viewer = site_of(request), viewer_of(request)
    may_see = viewer.is_known or site.settings.public_catalogue
    models = await _models(site, viewer.caller) if may_see else []
    content = json.dumps(with_models(document(), models), ensure_ascii=False, separators=(",", ":")).encode()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"etag": etag})
    return Response(content, media_type="application/json", headers={"etag": etag})


async def _models(site: Site, caller: Caller) -> list[ModelInputs]:
    """What every version of every model takes."""
    wanted = catalog_service_pb2.ListModelsRequest(page_size=_MOST_MODELS)
    listed = await ask_or_none(site.contract.catalog.ListModels, wanted, caller)
    versions = [
        (model, version["version"]) for model in (listed or {"models": []})["models"] for version in model["versions"]
    ]
    found = await all_of(*(_inputs(site, caller, model, version) for model, version in versions))
    return [inputs for inputs in found if inputs is not None]


async def _inputs(site: Site, caller: Caller, model: dict[str, Any], version: str) -> ModelInputs | None:
    wanted = catalog_service_pb2.GetInputSchemaRequest(slug=model["slug"], model_version=version)
    found = await ask_or_none(site.contract.catalog.GetInputSchema, wanted, caller)
    if found is None or "schema" not in found:
        return None
    is_default = version == model["default_version"]
    schema, example = _in_whole_numbers(found["schema"]), _in_whole_numbers(found.get("example", {}))
    return ModelInputs(model["slug"], model["title"], version, is_default, schema, example)


def _in_whole_numbers(value: Any) -> Any:
    """JSON with whole numbers where they can be: the wire has only doubles, and tools stumble at a length of 2000.0."""
    match value:
        case dict():
            return {name: _in_whole_numbers(inner) for name, inner in value.items()}
        case list():
            return [_in_whole_numbers(inner) for inner in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


ROUTES = [Route("/openapi.json", show)]
