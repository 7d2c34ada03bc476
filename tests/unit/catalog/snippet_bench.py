"""Snippets written for toys, and a place where they run: the commands they need only note what they are given."""

import ast
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.catalog.adapters.jinja_snippets import JinjaSnippets
from services.catalog.domain import Pin
from services.catalog.domain.snippets import KINDS, Selection, kinds_named

WRITER = JinjaSnippets()
KEY = "fk_test_key"
NODE = shutil.which("node")
IMAGE = "data:image/x-portable-pixmap;base64," + "QUJD" * 300
ANY = Selection(
    slug="toy",
    model_version="v1",
    pin=Pin(None, None),
    base_url="https://forge.test",
    example={"prompt": "a cat's 'tail' $HOME", "image": IMAGE, "fps": 7, "scale": 7.5, "tiled": True, "model": "toy"},
)
PINNED = replace(ANY, pin=Pin("H200", "eu-north2"))
SHELL = [kind.name for kind in KINDS if kind.language == "shell"]
CURLING = ["check", "reliability", "estimate", "warm_up", "status", "curl"]
CALLING = [*CURLING, "grpc", "python", "python_grpc", "javascript"]


def text_of(kind: str, selection: Selection = PINNED) -> str:
    (found,) = kinds_named(kind)
    return WRITER.write(found, selection)


@dataclass
class Bench:
    """A place where snippets run; the commands they need note what they are given and answer as told."""

    home: Path
    answers: dict[str, Any] = field(default_factory=dict)

    def command(self, name: str, body: str) -> None:
        file = self.home / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'#!/bin/bash\nprintf "%s\\0" "$@" >> "{self.home}/{name}.arguments"\n{body}\n')
        file.chmod(0o700)

    def curl(self, answer: Any, code: int = 0) -> None:
        (self.home / "answer").write_text(json.dumps(answer))
        self.command(
            "curl",
            f'[[ " $* " != *" @- "* ]] || cat > "{self.home}/curl.stdin"\ncat "{self.home}/answer"; exit {code}',
        )

    def run(self, text: str, *arguments: str, key: str | None = KEY, **environment: str) -> Any:
        command = list(arguments or ("bash",))
        paths = f"{self.home / 'bin'}:{os.environ['PATH']}"
        given = {"PATH": paths, "HOME": str(self.home), "LC_ALL": "C.UTF-8", **environment}
        if key is not None:
            given["FORGE_API_KEY"] = key
        return subprocess.run(command, input=text, env=given, cwd=self.home, text=True, capture_output=True, timeout=60)

    def arguments(self, name: str = "curl") -> list[str]:
        file = self.home / f"{name}.arguments"
        found = file.read_text().split("\0")[:-1]
        file.unlink()
        return found


def sent(arguments: list[str]) -> dict[str, str]:
    """The query parameters among curl's arguments."""
    pairs = [arguments[place + 1] for place, each in enumerate(arguments) if each == "--data-urlencode"]
    return dict(pair.split("=", 1) for pair in pairs)


def url(arguments: list[str]) -> str:
    (found,) = [each for each in arguments if each.startswith("http")]
    return found


def python_body(text: str) -> Any:
    """What a Python snippet assigns to BODY."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "BODY":
            return ast.literal_eval(node.value)
    raise AssertionError("no BODY")


def javascript_body(text: str) -> Any:
    return json.loads(text.split("const BODY = ")[1].split(";\n\nasync")[0])
