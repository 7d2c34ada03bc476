"""Reading the files of config/: YAML without surprises, and faults that name file, line and field."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

Location = Sequence[str | int]
"""Where something is in a document: keys and indexes from its root."""


class ConfigurationInvalid(Exception):
    """Files of the configuration are wrong; the message lists every fault on a line of its own."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("the configuration is invalid:\n" + "\n".join(self.faults))


class StrictShape(BaseModel):
    """What a part of a file looks like: no unknown keys, no values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Shape = TypeVar("Shape", bound=BaseModel)


@dataclass(frozen=True)
class Document(Generic[Shape]):
    """A file that has its shape, and can still say where in it something stands."""

    path: Path
    content: Shape
    _root: yaml.Node

    def fault(self, location: Location, message: str) -> str:
        """One line for ConfigurationInvalid: "path:line: field: message"."""
        return _fault(self.path, self._root, location, message)


def read_document(path: Path, shape: type[Shape]) -> Document[Shape]:
    """Read a YAML file of one shape, or raise ConfigurationInvalid with all that is wrong with it."""
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        raw = None if root is None else loader.construct_document(root)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid([f"{path}: cannot be read: {error}"]) from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationInvalid([f"{path}{line}: {error.problem}"]) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-13-45
        raise ConfigurationInvalid([f"{path}: {error}"]) from error
    if root is None:
        raise ConfigurationInvalid([f"{path}: is empty"])
    try:
        return Document(path, shape.model_validate(raw), root)
    except ValidationError as error:
        raise ConfigurationInvalid(
            _fault(path, root, fault["loc"], fault["msg"]) for fault in error.errors()
        ) from error


class _Loader(yaml.SafeLoader):
    """YAML as everybody reads it, except that a key written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the call below refuses it
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key}: is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _fault(path: Path, root: yaml.Node, location: Location, message: str) -> str:
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{path}:{_line(root, location)}: {field}: {message}" if field else f"{path}: {message}"


def _line(node: yaml.Node, location: Location) -> int:
    """Line of the value at `location`, or of the deepest part of it that exists, counted from 1."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
