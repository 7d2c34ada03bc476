"""Writing the text that people copy for a selection."""

from contextlib import suppress

from services.catalog.domain import Pin, TargetNotOffered
from services.catalog.domain.snippets import Selection, Snippet, Snippets, base_url_of, faults, kinds_named
from services.catalog.ports import SnippetWriter
from services.catalog.usecases.catalog import Catalog
from services.chassis.errors import InvalidInput


class SnippetBook:
    """Snippets for the models of a catalogue."""

    def __init__(self, catalog: Catalog, writer: SnippetWriter) -> None:
        self._catalog = catalog
        self._writer = writer

    async def snippets(self, slug: str, version: str, pin: Pin, *, kind: str, base_url: str) -> Snippets:
        """The snippets of a kind, all for "", in the order one would use them.

        A pin may name a target that is known and not offered now. ModelNotFound, VersionNotFound, UnknownTarget;
        InvalidInput for an unknown kind or a base URL that is none; ServiceUnavailable when there is a pin and nobody
        can say what the fleet offers.
        """
        found, inputs = self._catalog.inputs(slug, version)
        if wrong := faults(kind, base_url):
            raise InvalidInput(wrong)
        if pin != Pin(None, None):
            with suppress(TargetNotOffered):
                await self._catalog.routes(slug, found, pin)
        selection = Selection(slug, found, pin, base_url_of(base_url), inputs.example)
        return Snippets(
            selection, tuple(Snippet(each, self._writer.write(each, selection)) for each in kinds_named(kind))
        )
