"""The project's documents on the site."""

from pathlib import Path

import pytest

from services.chassis.config import REPOSITORY
from services.web.adapters.markdown_documents import Code, library, read
from services.web.domain.documents import address_of, anchor_of, first_sentence, name_of, shelves_of
from tests.unit.web.conftest import Browser
from tests.unit.web.markup import faults
from tests.unit.web.markup import read as read_page

KNOWN = {
    "README.md": "readme",
    "docs/operations.md": "operations",
    "docs/adr/README.md": "adr",
    "docs/adr/0001-one.md": "adr/0001-one",
}
PRIVATE = "# Private\n\nNobody reads this.\n"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("README.md", "readme"),
        ("envoy/README.md", "edge"),
        ("docs/operations.md", "operations"),
        ("docs/adr/README.md", "adr"),
        ("docs/adr/0001-one.md", "adr/0001-one"),
        ("config/models/README.md", None),
        ("docs/picture.png", None),
    ],
)
def test_a_document_has_a_name_and_other_files_have_none(path: str, name: str | None) -> None:
    assert name_of(path) == name


@pytest.mark.parametrize(
    ("link", "source", "address"),
    [
        ("operations.md", "docs/architecture.md", "/docs/operations"),
        ("operations.md#fleets", "docs/architecture.md", "/docs/operations#fleets"),
        ("adr/0001-one.md", "docs/architecture.md", "/docs/adr/0001-one"),
        ("../operations.md", "docs/adr/0001-one.md", "/docs/operations"),
        ("README.md", "docs/adr/0001-one.md", "/docs/adr"),
        ("../README.md", "docs/architecture.md", "/docs/readme"),
        ("docs/operations.md", "README.md", "/docs/operations"),
        ("#below", "docs/architecture.md", "#below"),
        ("https://example.com/a.md", "docs/architecture.md", "https://example.com/a.md"),
        ("../config/models/README.md", "docs/architecture.md", None),
        ("../../../etc/passwd", "docs/architecture.md", None),
        ("//elsewhere/operations.md", "docs/architecture.md", None),
        ("javascript:alert(1)", "docs/architecture.md", None),
    ],
)
def test_a_link_leads_where_the_site_has_it(link: str, source: str, address: str | None) -> None:
    assert address_of(link, source, KNOWN) == address


def test_anchors_are_those_other_places_have_and_never_twice() -> None:
    taken: set[str] = set()

    assert [anchor_of(text, taken) for text in ("Steps: `one`", "A — b", "Same", "Same", "?")] == [
        "steps-one",
        "a--b",
        "same",
        "same-1",
        "section",
    ]


def test_documents_nobody_put_on_a_shelf_are_found_all_the_same() -> None:
    shelves = {
        shelf.title: shelf.names for shelf in shelves_of(["new", "operations", "adr/0002-b", "adr", "adr/0001-a"])
    }

    assert shelves == {"Run": ("operations",), "More": ("new",), "Decisions": ("adr", "adr/0001-a", "adr/0002-b")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One thing. Another.", "One thing."),
        ("See `a.b` first.\nThen go.", "See `a.b` first."),
        ("These are the words:", "These are the words."),
        ("No end", "No end."),
        ("", ""),
    ],
)
def test_a_document_is_announced_by_its_first_sentence(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_a_document_is_safe_html_with_texts_to_copy() -> None:
    text = "# T\n\n<b onclick=x>no</b> [away](../config/a.md) [in](operations.md)\n"
    codes = "\n```sh\nmake <up>\n```\n\n- a\n\n      b\n"
    found = read("x", "docs/x.md", text + codes, KNOWN)
    html = "".join(part for part in found.parts if isinstance(part, str))

    assert "<b onclick" not in html
    assert ">away<" not in html
    assert '<a href="/docs/operations">in</a>' in html
    assert [part for part in found.parts if isinstance(part, Code)] == [Code("sh", "make <up>"), Code("", "b")]


def test_tables_scroll_by_themselves_without_inline_styles() -> None:
    found = read("x", "docs/x.md", "# T\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n", {})
    (html,) = found.parts

    assert isinstance(html, str)
    assert '<div class="scroll" tabindex="0" role="region" aria-label="Table 1">' in html
    assert '<th scope="col">a</th>' in html
    assert "style=" not in html


def test_the_library_has_every_document_of_the_repository() -> None:
    files = [*(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "README.md", REPOSITORY / "envoy" / "README.md"]

    assert set(library().documents) == {name_of(file.relative_to(REPOSITORY).as_posix()) for file in files}


def test_no_document_links_to_a_heading_that_is_not_there() -> None:
    found = library().documents
    anchors = {name: {heading.anchor for heading in document.headings} for name, document in found.items()}
    for name, document in found.items():
        page = read_page("".join(part for part in document.parts if isinstance(part, str)))
        for link in page.links:
            if link.startswith(("/docs/", "#")):
                target, _, anchor = link.removeprefix("/docs/").partition("#")
                assert not anchor or anchor in anchors[target or name], f"{name}: {link}"


def test_only_what_is_listed_is_read(tmp_path: Path) -> None:
    (tmp_path / "docs" / "adr").mkdir(parents=True)
    (tmp_path / "docs" / "one.md").write_text("# One\n\nThe one.\n")
    (tmp_path / "docs" / "notes.txt").write_text(PRIVATE)
    (tmp_path / "docs" / "deep").mkdir()
    (tmp_path / "docs" / "deep" / "secret.md").write_text(PRIVATE)
    (tmp_path / "CHANGELOG.md").write_text(PRIVATE)

    assert list(library(tmp_path).documents) == ["one"]


@pytest.mark.parametrize(
    "name",
    [
        "nope",
        "../README.md",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/pyproject.toml",
        "operations.md",
        "adr/%2e%2e/operations",
        "/",
    ],
)
async def test_a_name_that_is_not_listed_is_not_found(browser: Browser, name: str) -> None:
    assert (await browser.open(f"/docs/{name}")).status_code == 404


async def test_the_index_leads_to_every_document(browser: Browser) -> None:
    page = read_page((await browser.open("/docs")).text)

    assert {f"/docs/{name}" for name in library().documents} <= set(page.links)
    assert "/docs/api" in page.links


async def test_documents_lead_to_the_ones_before_and_after(browser: Browser) -> None:
    names = list(library().documents)

    assert f'rel="next" href="/docs/{names[1]}"' in (await browser.open(f"/docs/{names[0]}")).text
    assert f'rel="prev" href="/docs/{names[-2]}"' in (await browser.open(f"/docs/{names[-1]}")).text


async def test_a_long_document_has_a_table_of_contents(browser: Browser) -> None:
    assert 'aria-label="On this page"' in (await browser.open("/docs/operations")).text
    assert 'aria-label="On this page"' not in (await browser.open("/docs/glossary")).text


async def test_every_document_is_well_made(browser: Browser) -> None:
    found = {name: faults((await browser.open(f"/docs/{name}")).text) for name in ("", *library().documents)}

    assert {name: wrong for name, wrong in found.items() if wrong} == {}
