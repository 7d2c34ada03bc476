"""Sees that a built site needs nothing from elsewhere: `python -m docs.site.check FOLDER`."""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_LOADS = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}


def faults(site: Path) -> list[str]:
    """What pages of a site load from elsewhere, or from places where nothing is."""
    pages = sorted(site.rglob("*.html"))
    if not (site / "index.html").is_file():
        return [f"{site} has no index.html"]
    return [f"{page.relative_to(site)}: {fault}" for page in pages for fault in _faults(page)]


def _faults(page: Path) -> Iterator[str]:
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    for address in reader.loaded:
        if "//" in address.partition("?")[0]:
            yield f"loads {address}"
        elif not (page.parent / address.partition("?")[0].partition("#")[0]).exists():
            yield f"loads {address}, which is not there"


class _Reader(HTMLParser):
    """Collects what a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(_LOADS.get(tag, ""))
        if address and not address.startswith("data:"):
            self.loaded.append(address)


if __name__ == "__main__":
    found = faults(Path(sys.argv[1]))
    sys.exit("\n".join(found) or 0)
