"""The project's documents, read from its Markdown files and made HTML."""

import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from services.chassis.config import REPOSITORY
from services.web.domain.documents import (
    DECISIONS,
    NAMES_OUTSIDE,
    Shelf,
    address_of,
    anchor_of,
    first_sentence,
    name_of,
    shelves_of,
)

_CODE_MARK = re.compile("\0(\\d+)\0")
"""Where a text to copy goes; Markdown has no NUL: the parser replaces it."""


@dataclass(frozen=True)
class Code:
    """A text to copy."""

    language: str
    text: str


@dataclass(frozen=True)
class Heading:
    """A heading within a document."""

    level: int
    anchor: str
    text: str


@dataclass(frozen=True)
class Document:
    """A document: its parts in order are pieces of safe HTML and, between them, texts to copy."""

    name: str
    title: str
    summary: str
    headings: tuple[Heading, ...]
    parts: tuple[str | Code, ...]


@dataclass(frozen=True)
class Library:
    """Every document that is served, by name, in the order they are read in. Nothing else is reachable."""

    shelves: tuple[Shelf, ...]
    documents: Mapping[str, Document]

    def beside(self, name: str) -> tuple[Document | None, Document | None]:
        """The documents before and after one."""
        names = list(self.documents)
        at = names.index(name)
        before = self.documents[names[at - 1]] if at else None
        return before, self.documents[names[at + 1]] if at + 1 < len(names) else None


@cache
def library(root: Path = REPOSITORY) -> Library:
    """The documents of the repository at `root`. They are read once."""
    files = [*(root / "docs").glob("*.md"), *(root / "docs" / DECISIONS).glob("*.md")]
    paths = [file.relative_to(root).as_posix() for file in files]
    paths += [path for path in NAMES_OUTSIDE if (root / path).is_file()]
    known = {path: name for path in paths if (name := name_of(path))}
    found = {name: read(name, path, (root / path).read_text(encoding="utf-8"), known) for path, name in known.items()}
    shelves = shelves_of(found)
    return Library(tuple(shelves), {name: found[name] for shelf in shelves for name in shelf.names})


def read(name: str, path: str, text: str, known: Mapping[str, str]) -> Document:
    """The document at `path`. HTML in it is text; links to what `known` does not have, names by path, are text too."""
    markdown = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    tokens = markdown.parse(text)
    headings = _headed(tokens)
    _linked(tokens, path, known)
    codes: list[Code] = []
    html = markdown.renderer.render(tokens, markdown.options, {"codes": codes})
    pieces = _CODE_MARK.split(html)
    parts = [codes[int(piece)] if number % 2 else piece for number, piece in enumerate(pieces)]
    return Document(
        name=name,
        title=next((heading.text for heading in headings if heading.level == 1), name),
        summary=first_sentence(_first_paragraph(tokens)),
        headings=tuple(heading for heading in headings if heading.level > 1),
        parts=tuple(part for part in parts if isinstance(part, Code) or part.strip()),
    )


class _Renderer(RendererHTML):
    """HTML as the site has it: tables scroll by themselves, and texts to copy are left to the page."""

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]) -> str:
        language = tokens[idx].info.split(maxsplit=1)
        return self._code(Code(language[0] if language else "", tokens[idx].content.rstrip("\n")), env)

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return self._code(Code("", tokens[idx].content.rstrip("\n")), env)

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]) -> str:
        env["tables"] = env.get("tables", 0) + 1
        return f'<div class="scroll" tabindex="0" role="region" aria-label="Table {env["tables"]}">\n<table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return "</table>\n</div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return '<th scope="col">'

    def td_open(self, tokens: Sequence[Token], idx: int, options: Any, env: MutableMapping[str, Any]) -> str:
        return "<td>"  # alignment is an inline style, which the site's policy forbids

    def _code(self, code: Code, env: MutableMapping[str, Any]) -> str:
        env["codes"].append(code)
        return f"\0{len(env['codes']) - 1}\0"


def _headed(tokens: Sequence[Token]) -> list[Heading]:
    """The headings; each gets its anchor."""
    found, taken = [], set[str]()
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            text = _plain(tokens[number + 1])
            heading = Heading(int(token.tag[1:]), anchor_of(text, taken), text)
            token.attrSet("id", heading.anchor)
            found.append(heading)
    return found


def _linked(tokens: Sequence[Token], path: str, known: Mapping[str, str]) -> None:
    """Lead links to where the site has what they mean; those to anywhere else become their text."""
    for block in tokens:
        kept, dropped = [], []
        for token in block.children or ():
            if token.type == "link_open":
                address = address_of(str(token.attrGet("href") or ""), path, known)
                dropped.append(address is None)
                if address is not None:
                    token.attrSet("href", address)
            is_dropped = bool(dropped) and token.type in ("link_open", "link_close") and dropped[-1]
            if not is_dropped:
                kept.append(token)
            if token.type == "link_close":
                dropped.pop()
        if block.children is not None:
            block.children = kept


def _first_paragraph(tokens: Sequence[Token]) -> str:
    for number, token in enumerate(tokens):
        if token.type == "paragraph_open":
            return _plain(tokens[number + 1]).removeprefix("Decision. ")
    return ""


def _plain(inline: Token) -> str:
    """What an inline token says without its markup."""
    return "".join(
        " " if child.type in ("softbreak", "hardbreak") else child.content for child in inline.children or ()
    )
