"""Small pieces of Markdown."""

import re
from collections.abc import Iterable, Sequence, Set

_PIECES = re.compile(r"(`[^`]*`|\b[A-Z][A-Z_]+\b)")
"""What is between backquotes, and words in capitals, which may be names of errors."""
_SPECIAL = re.compile(r"([\\*_<>\[\]{}|#$~])")


def said(text: str, linked: Set[str] = frozenset()) -> str:
    """A comment as Markdown on one line: what is between backquotes is code, everything else is as it stands.

    Names that are `linked` lead to their targets.
    """
    return "".join(_piece(piece, linked) for piece in _PIECES.split(" ".join(text.split())))


def _piece(piece: str, linked: Set[str]) -> str:
    if piece.startswith("`"):
        return piece.replace("|", "\\|")
    if piece in linked:
        return f"[`{piece}`](#{target(piece)})"
    return _SPECIAL.sub(r"\\\1", piece)


def paragraphs(text: str, linked: Set[str] = frozenset()) -> str:
    """A comment as Markdown, with its paragraphs."""
    return "\n\n".join(said(part, linked) for part in text.split("\n\n"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing where it has no rows."""
    lines = [_row(cells) for cells in rows]
    return "\n".join([_row(head), _row(["---"] * len(head)), *lines, ""]) if lines else ""


def target(name: str) -> str:
    """A name that links of the site lead to."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
