"""Snippets, between nouns and messages."""

from forge.catalog.v1 import snippet_pb2

from services.catalog.domain.snippets import Snippet, Snippets


def snippets_to_proto(found: Snippets) -> snippet_pb2.Snippets:
    """The texts for a selection."""
    selection = found.selection
    return snippet_pb2.Snippets(
        slug=selection.slug,
        model_version=selection.model_version,
        gpu_type=selection.pin.gpu_type,
        region=selection.pin.region,
        snippets=[_snippet_to_proto(snippet) for snippet in found.snippets],
    )


def _snippet_to_proto(snippet: Snippet) -> snippet_pb2.Snippet:
    kind = snippet.kind
    return snippet_pb2.Snippet(
        kind=kind.name,
        title=kind.title,
        description=kind.description,
        language=kind.language,
        filename=kind.filename,
        text=snippet.text,
    )
