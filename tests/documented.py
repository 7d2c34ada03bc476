"""The texts to copy in the project's documents, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from docs.site.gather import ROOT, document_paths

SHELLS = frozenset({"bash", "sh", "console"})
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w+-]*)[^\n]*\n(?P<text>.*?)^ *```$", re.M | re.S)
_INNER = re.compile(r"\$\(([^()]*)\)")
_LINE = re.compile(r"if\b.*?^fi\n|(?:[^\n]*\\\n)*[^\n]*\n", re.M | re.S)
_CONTROL = frozenset({";", "&", "&&", "|", "||", "(", ")", "{", "}"})
_REDIRECTION = re.compile(r"\d?[<>]+&?|&>+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.S)
_WORDS = frozenset({"if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "!"})


@dataclass(frozen=True)
class Block:
    """A text to copy, and where it stands."""

    path: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def blocks() -> list[Block]:
    """Every text to copy of every document."""
    return [block for path in document_paths() for block in blocks_of(path, (ROOT / path).read_text(encoding="utf-8"))]


def blocks_of(path: str, text: str) -> Iterator[Block]:
    """Those of one document."""
    for found in _FENCE.finditer(text):
        yield Block(path, text.count("\n", 0, found.start()) + 1, found["language"], found["text"])


def lines(text: str) -> list[str]:
    """The lines of a shell text. One goes on where it ends in a backslash, and to the end of a condition."""
    return _LINE.findall(text)


def inline_commands(text: str, program: str) -> list[str]:
    """What stands between backquotes in a document and begins with a program's name."""
    prose = _FENCE.sub("", text)
    return re.findall(rf"(?<!`)`({program} [^`\n]+)`(?!`)", prose)


def commands(text: str, language: str = "bash") -> list[list[str]]:
    """The commands of a shell text, each as its words: those within `$(…)` too, without assignments and redirections.

    Raises ValueError for a text that is not read: here documents, quotes that do not end.
    """
    if "<<" in text.replace("<<<", ""):
        raise ValueError("here documents are not read; put the text into a file")
    if language == "console":
        text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
    text = text.replace("\\\n", " ")
    found: list[list[str]] = []
    while inner := _INNER.search(text):
        found += commands(inner[1])
        text = f"{text[: inner.start()]}INNER{text[inner.end() :]}"
    for words in _split(text):
        found += [words] if words else []
    return found


def _split(text: str) -> Iterator[list[str]]:
    words: list[str] = []
    is_target = False
    for token in _tokens(text):
        if token in _CONTROL or token == "\n":
            yield words
            words, is_target = [], False
        elif _REDIRECTION.fullmatch(token):
            is_target = True
            words = words[:-1] if words and words[-1] in ("1", "2") else words  # what is led away
        elif is_target:
            is_target = False
        elif words or not (_ASSIGNMENT.fullmatch(token) or token in _WORDS):
            words.append(token)
    yield words


def _tokens(text: str) -> Iterator[str]:
    """Words and operators of every line, and the ends of lines. A line goes on while a quote is open."""
    waiting = ""
    for line in text.splitlines():
        waiting += line + "\n"
        lexer = shlex.shlex(waiting, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            tokens = list(lexer)
        except ValueError:
            continue
        waiting = ""
        yield from tokens
        yield "\n"
    if waiting.strip():
        raise ValueError("a quote does not end")
