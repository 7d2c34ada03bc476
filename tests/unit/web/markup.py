"""Reading pages in tests."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Page:
    """What a page is made of, as far as tests ask."""

    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    headings: list[int] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    """Scripts and styles that the site's policy would not let in."""
    unnamed_regions: list[str] = field(default_factory=list)
    """What scrolls and is reached with the keyboard, but has no name."""
    references: list[str] = field(default_factory=list)
    """What labels and descriptions refer to."""
    text: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._is_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        page = self.page
        if "id" in found:
            page.ids.append(found["id"])
        if tag == "a" and "href" in found:
            page.links.append(found["href"])
        if re.fullmatch("h[1-6]", tag):
            page.headings.append(int(tag[1]))
        if "style" in found or tag == "style" or any(name.startswith("on") for name in found):
            page.inline.append(f"<{tag} {found}>")
        if found.get("role") == "region" and not ("aria-label" in found or "aria-labelledby" in found):
            page.unnamed_regions.append(tag)
        for name in ("for", "aria-labelledby", "aria-describedby"):
            page.references += found.get(name, "").split()
        self._is_script = tag == "script"
        if self._is_script and "src" not in found:
            page.inline.append("<script>")

    def handle_endtag(self, tag: str) -> None:
        self._is_script = False

    def handle_data(self, data: str) -> None:
        if not self._is_script:
            self.page.text += f" {data}"


def read(html: str) -> Page:
    """A page, read; its text with single blanks."""
    reader = _Reader()
    reader.feed(html)
    reader.page.text = " ".join(reader.page.text.split())
    return reader.page


def faults(html: str) -> list[str]:
    """What no page may have: inline code, ids twice, names that lead nowhere, headings that skip a level."""
    page = read(html)
    found = [*page.inline, *(f"region without a name: {tag}" for tag in page.unnamed_regions)]
    found += [f"id twice: {name}" for name in sorted({name for name in page.ids if page.ids.count(name) > 1})]
    found += [f"names nothing: {name}" for name in page.references if name not in page.ids]
    steps = zip([0, *page.headings], page.headings, strict=False)
    found += [f"h{after} after h{before}" for before, after in steps if after > before + 1]
    if page.headings.count(1) != 1:
        found.append(f"{page.headings.count(1)} first headings")
    return found
