"""Gathers what the site is built from into a folder: `python -m docs.site.gather FOLDER`.

Documents keep their places in the repository, so that links between them lead where they lead on a code host.
"""

import json
import posixpath
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from docs.site.command import command_page
from docs.site.reference import errors_page, messages_page, service_page
from services.web.adapters.contract_reference import reference
from services.web.adapters.openapi.document import document
from services.web.domain.documents import NAMES_OUTSIDE, name_of, shelves_of

ROOT = Path(__file__).resolve().parents[2]
_PROJECT = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "clients/python/README.md",
    "config/models/README.md",
    "examples/README.md",
    "models_demo/README.md",
    "models_demo/weights/README.md",
)
"""Documents of the repository that the console does not show; those of them that there are."""
_TITLES = {"README.md": "At a glance <README>"}
"""What documents are listed as whose own titles would not do."""
_FENCE = re.compile(r"^```.*?^```", re.M | re.S)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_FRONT = """# Forge

Forge serves a catalogue of video-generation models on GPUs you own: one command on a laptop, the same services on a
fleet. It tells you beforehand what a render will take and cost, shows it as it happens, and keeps it when things break.

New here? Begin with the [quick start](docs/quick-start.md), look up words in the [glossary](docs/glossary.md), and see
how it is built in [architecture](docs/architecture.md). Everything that can be called is in the reference, written from
the contract's own comments; for tools there is [an OpenAPI document](reference/openapi.json).
"""


def gather(folder: Path) -> None:
    """Fill `folder`, which is emptied before. Raises ValueError for a link to a file that is not there."""
    shutil.rmtree(folder, ignore_errors=True)
    paths = document_paths()
    for path in paths:
        _write(folder / path, led(path, (ROOT / path).read_text(encoding="utf-8"), paths))
    pages = reference_pages()
    for path, text in pages.items():
        _write(folder / path, text)
    _write(folder / "reference" / "openapi.json", json.dumps(document(), indent=1, ensure_ascii=False))
    _write(folder / "index.md", _FRONT + _contents(paths, list(pages)))


def document_paths() -> list[str]:
    """Every document of the repository that the site shows."""
    found = [file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").rglob("*.md")]
    return sorted(found) + [path for path in (*NAMES_OUTSIDE, *_PROJECT) if (ROOT / path).is_file()]


def reference_pages() -> dict[str, str]:
    """The pages that are made, by path."""
    found = reference()
    errors = [reason.name for reason in found.reasons]
    pages = {f"reference/{service.name}.md": service_page(service, errors) for service in found.services}
    pages["reference/messages.md"] = messages_page(found.messages.values())
    pages["reference/errors.md"] = errors_page(found.reasons)
    pages["reference/command.md"] = command_page()
    return pages


def led(path: str, text: str, known: Iterable[str]) -> str:
    """A document whose links to files that the site does not show have become their texts."""
    shown = set(known)

    def lead(link: re.Match[str]) -> str:
        parts = urlsplit(link[2])
        if parts.scheme or not parts.path:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), parts.path))
        if target in shown:
            return link[0]
        if not (ROOT / target).exists():
            raise ValueError(f"{path} links to {link[2]}, which is not there")
        return link[1]

    pieces = _FENCE.split(text)
    fences = [*_FENCE.findall(text), ""]
    return "".join(_LINK.sub(lead, piece) + fence for piece, fence in zip(pieces, fences, strict=True))


def _contents(paths: Sequence[str], pages: Sequence[str]) -> str:
    """The tables of contents: documents as the console shelves them, then what is made, then the project."""
    by_name: Mapping[str, str] = {name: path for path in paths if (name := name_of(path))}
    lists = {shelf.title: [by_name[name] for name in shelf.names] for shelf in shelves_of(by_name)}
    decisions = lists.pop("Decisions", [])
    lists["Reference"] = list(pages)
    lists["Decisions"] = decisions
    lists["Project"] = [path for path in paths if path in _PROJECT]
    return "".join(_toctree(title, listed) for title, listed in lists.items() if listed)


def _toctree(title: str, paths: Sequence[str]) -> str:
    listed = "\n".join(_TITLES.get(path, path.removesuffix(".md")) for path in paths)
    return f"\n```{{toctree}}\n:maxdepth: 1\n:caption: {title}\n\n{listed}\n```\n"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    gather(Path(sys.argv[1]))
