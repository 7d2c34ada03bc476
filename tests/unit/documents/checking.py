"""Whether a command of a document is one that there is: each program has its own check."""

import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from urllib.parse import parse_qsl, urlsplit

import click

from docs.site.gather import ROOT
from forge_cli.__main__ import forge
from services.web.adapters.openapi.document import document

Words = Sequence[str]

_PLACEHOLDER = re.compile(r"[\w-]*…|\$\w+|\$\{\w+\}|INNER|[A-Z_]+")
_LOCAL = re.compile(r"(\$\{?FORGE_API_BASE\}?|https?://(127\.0\.0\.1|localhost)(:\d+)?)")
_SERVED = re.compile(r"/(v1|openapi\.json|healthz|links|docs|static)\b")
_WITH_VALUE = {"-H", "--header", "-d", "--data", "--data-binary", "-o", "--output", "-X", "--request", "-F", "--form"}
_ORDINARY = frozenset(
    {"cat", "cd", "chmod", "cp", "echo", "export", "grep", "head", "kill", "ls", "mkdir", "mv", "printf", "rm", "sed"}
    | {"sha256sum", "sleep", "source", "tail", "tee", "test", "true", "wait", "wc", "ffplay"}
)
"""What every system has, and a player of videos."""


def fault_of(words: Words) -> str | None:
    """What is wrong with a command; None for one that is good."""
    program = words[0].removeprefix(".venv/bin/").removeprefix("./")
    if program in _ORDINARY:
        return None
    check = _CHECKS.get(program)
    if check is None:
        return f"there is no check for {words[0]!r}: add one to {__name__}"
    return check(words[1:])


def forge_fault(args: Words, *, is_whole: bool = True) -> str | None:
    """What is wrong with the arguments of the forge command. Of a part of a call only names are looked at."""
    command, context = forge, click.Context(forge, info_name="forge")
    words = list(args)
    while isinstance(command, click.Group):
        try:
            _, words, _ = command.make_parser(context).parse_args(words)
        except click.UsageError as error:
            return error.format_message()
        if not words:
            return "names no command" if is_whole and not command.invoke_without_command else None
        if not is_whole and _PLACEHOLDER.fullmatch(words[0]):
            return None
        found = command.get_command(context, words[0])
        if found is None:
            return f"{context.command_path} has no command {words[0]!r}"
        command, context = found, click.Context(found, info_name=words[0], parent=context)
        words = words[1:]
    return _arguments_fault(command, context, words, is_whole=is_whole)


def _arguments_fault(command: click.Command, context: click.Context, words: Words, *, is_whole: bool) -> str | None:
    try:
        values, rest, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message() if is_whole or isinstance(error, click.NoSuchOption) else None
    if rest and not context.allow_extra_args:
        return f"{context.command_path} takes no {rest[0]!r}"
    for parameter in command.params:
        value = values.get(parameter.name or "")
        is_missing = value is None or "UNSET" in repr(value)
        if parameter.required and is_missing and is_whole:
            return f"{context.command_path} needs {parameter.human_readable_name}"
        if isinstance(parameter.type, click.Choice) and isinstance(value, str) and not _PLACEHOLDER.fullmatch(value):
            try:
                parameter.type.convert(value, parameter, context)
            except click.BadParameter as error:
                return error.format_message()
    return None


def _make_fault(args: Words) -> str | None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    unknown = [word for word in args if not word.startswith("-") and "=" not in word and word not in targets]
    return f"the Makefile has no target {unknown[0]!r}" if unknown else None


def _curl_fault(args: Words) -> str | None:
    method, body, address = "", "", ""
    words = iter(args)
    for word in words:
        value = next(words, "") if word in _WITH_VALUE else ""
        if word in ("-X", "--request"):
            method = value
        elif word in ("-d", "--data", "--data-binary", "-F", "--form"):
            body, method = value, method or "POST"
        elif not word.startswith("-"):
            address = word
    local = _LOCAL.match(address)
    if local is None:
        return f"{address!r} is no address of the platform"
    return route_fault(method or "GET", address[local.end() :]) or _json_fault(body)


def _json_fault(body: str) -> str | None:
    if not body.startswith(("{", "[")):
        return None
    try:
        json.loads(body)
    except ValueError as error:
        return f"the body is no JSON: {error}"
    return None


def route_fault(method: str, address: str) -> str | None:
    """What is wrong with a method and a path of REST, which may have a query."""
    parts = urlsplit(address)
    if not _SERVED.match(parts.path):
        return f"{address!r} is served by nobody"
    if not parts.path.startswith(("/v1/", "/openapi", "/healthz")):
        return None
    for path, item in document()["paths"].items():
        if method.lower() in item and re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), parts.path):
            named = [one["name"] for one in item[method.lower()].get("parameters", []) if one.get("in") == "query"]
            unknown = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name not in named]
            return f"{method} {path} has no parameter {unknown[0]!r}" if unknown else None
    return f"no route is {method} {parts.path}"


def _python_fault(args: Words) -> str | None:
    if args[:2] == ["-m", "pip"]:
        return _pip_fault(args[2:])
    if args[:1] == ["-m"]:
        return _module_fault(args[1], args[2:])
    return _file_fault(args)


def _module_fault(name: str, args: Words) -> str | None:
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        return f"there is no module {name}"
    if not (ROOT / name.partition(".")[0]).is_dir():
        return None  # somebody else's
    said = _source_of(name)
    unknown = [word for word in args if word.startswith("-") and f'"{word.partition("=")[0]}"' not in said]
    return f"{name} has no option {unknown[0]}" if unknown else None


@cache
def _source_of(name: str) -> str:
    """The source of a module, or of a package's main module."""
    path = ROOT / name.replace(".", "/")
    files = [path / "__main__.py"] if path.is_dir() else [path.with_suffix(".py")]
    return "".join(file.read_text() for file in files)


def _pip_fault(args: Words) -> str | None:
    places = [word for word in args if word.startswith((".", "/"))]
    missing = [place for place in places if not (ROOT / place / "pyproject.toml").is_file()]
    return f"there is no package in {missing[0]}" if missing else None


def _file_fault(args: Words) -> str | None:
    named = next((word for word in args if not word.startswith("-")), "")
    return None if (ROOT / named).is_file() else f"there is no file {named!r}"


_CHECKS: Mapping[str, Callable[[Words], str | None]] = {
    "forge": forge_fault,
    "make": _make_fault,
    "curl": _curl_fault,
    "python": _python_fault,
    "python3": _python_fault,
    "pip": _pip_fault,
    "node": _file_fault,
    "bash": _file_fault,
}
