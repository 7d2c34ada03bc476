"""The project's documents: their names on the site, their order, and where links between them lead."""

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

NAMES_OUTSIDE = {"README.md": "readme", "envoy/README.md": "edge"}
"""Documents that lie elsewhere than in `docs/`, by their path in the repository."""
DECISIONS = "adr"
_SHELVES: Mapping[str, Sequence[str]] = {
    "Begin": ("readme", "quick-start", "architecture", "glossary"),
    "Run": ("operations", "keys", "audit", "telemetry", "adding-a-model", "edge", "security"),
    "Call": ("clients", "cli", "web", "inputs", "videos-dialect", "webhooks"),
    "Inside": ("engines", "performance", "reliability", "simulation"),
}
_MORE = "More"
_DECIDED = "Decisions"
_FIRST_SENTENCE = re.compile(r"(.+?)[.:]?(?:(?<=\.)\s+(?=[A-Z])|$)")


@dataclass(frozen=True)
class Shelf:
    """Documents under one heading, by name."""

    title: str
    names: tuple[str, ...]


def name_of(path: str) -> str | None:
    """The name of the document at a path in the repository; None for a file that is none."""
    if path in NAMES_OUTSIDE:
        return NAMES_OUTSIDE[path]
    folder, file = posixpath.split(path)
    stem, suffix = posixpath.splitext(file)
    if suffix != ".md":
        return None
    if folder == "docs":
        return stem
    if folder == f"docs/{DECISIONS}":
        return DECISIONS if stem == "README" else f"{DECISIONS}/{stem}"
    return None


def shelves_of(names: Iterable[str]) -> list[Shelf]:
    """Documents in the order they are read in. One that no shelf knows is under More."""
    left = set(names)
    shelves = []
    for title, known in _SHELVES.items():
        shelves.append(Shelf(title, tuple(name for name in known if name in left)))
        left -= set(known)
    decisions = sorted(name for name in left if name == DECISIONS or name.startswith(f"{DECISIONS}/"))
    more = sorted(left - set(decisions))
    return [shelf for shelf in (*shelves, Shelf(_MORE, tuple(more)), Shelf(_DECIDED, tuple(decisions))) if shelf.names]


def address_of(link: str, source: str, known: Mapping[str, str]) -> str | None:
    """Where a link in the document at `source` leads on the site; None where it leads to a file that is not shown.

    `known` has the names of the documents by their paths.
    """
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return link if parts.scheme in ("http", "https", "mailto") else None
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    if not parts.path:
        return fragment or None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), parts.path))
    return f"/docs/{known[path]}{fragment}" if path in known else None


def anchor_of(heading: str, taken: set[str]) -> str:
    """What a heading is reached by, as other places that show Markdown spell it; no two of a page are the same."""
    plain = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") or "section"
    anchor, number = plain, 0
    while anchor in taken:
        number += 1
        anchor = f"{plain}-{number}"
    taken.add(anchor)
    return anchor


def first_sentence(text: str, most: int = 180) -> str:
    """What a document says first, cut at a word where that is long."""
    plain = " ".join(text.split())
    found = _FIRST_SENTENCE.match(plain)
    sentence = f"{found.group(1)}." if found else plain
    return sentence if len(sentence) <= most else f"{sentence[:most].rsplit(' ', 1)[0].rstrip(',;:')} …"
