"""The project's documents, and the reference of its API."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.web.adapters.contract_reference import reference
from services.web.adapters.markdown_documents import library
from services.web.site import site_of


async def index(request: Request) -> Response:
    """What there is to read."""
    return site_of(request).page(request, "docs_index.html", library=library(), calls=_number_of_calls())


async def api(request: Request) -> Response:
    """Every call of the public contract."""
    return site_of(request).page(request, "docs_api.html", reference=reference(), calls=_number_of_calls())


async def show(request: Request) -> Response:
    """One document. Names come from the listing: what is not in it is not there."""
    found = library().documents.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    before, after = library().beside(found.name)
    return site_of(request).page(
        request, "docs_page.html", library=library(), document=found, before=before, after=after
    )


def _number_of_calls() -> int:
    return sum(len(service.calls) for service in reference().services)


ROUTES = [Route("/docs", index), Route("/docs/api", api), Route("/docs/{name:path}", show)]
