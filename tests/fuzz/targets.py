"""What is fed, each a function of bytes that raises when something does what it must not."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from services.accounts import domain as accounts
from services.catalog.adapters.yaml_models import faults_of, load_models
from services.chassis.config import REPOSITORY
from services.chassis.image_decoder import decoded, opened
from services.chassis.images import ImageFile, ImageRefused, file_of, sniffed
from services.chassis.wire import body
from services.scheduler.adapters.json_schema import JsonSchemaChecker
from services.scheduler.domain import inputs as rules
from services.scheduler.domain.inputs import Rule
from services.scheduler.domain.remote_address import UrlRefused, endpoint_of
from services.scheduler.domain.routing import take_apart
from services.web.adapters.signed_links import Link, SignedLinks
from services.web.domain.byte_ranges import File, NotSatisfiable, is_known, part_of

SEEDS = Path(__file__).with_name("seeds")
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_FILE = File(1_000, '"tag"', _NOW)
_LINKS = SignedLinks("a secret of the tests")
_MODELS = load_models(REPOSITORY / "config" / "models")
_FEW_PIXELS = 250_000  # decoding a large image is slow, and nothing new


def images(data: bytes) -> None:
    """A file in an image's input, as the decoder's process sees it."""
    media_type = sniffed(data)
    if media_type is None:
        return
    try:
        image = opened(ImageFile(media_type, data))
        if image.width * image.height <= _FEW_PIXELS:
            assert decoded(image).mode == "RGB"
    except ImageRefused:
        pass


def data_uris(data: bytes) -> None:
    """The text in an image's input."""
    try:
        file = file_of(data.decode("utf-8", "replace"))
    except ImageRefused:
        return
    assert file_of(file.as_data_uri()) == file


def inputs(data: bytes) -> None:
    """An inference body, checked as before a render is accepted."""
    given = _body(data)
    if given is None:
        return
    request, wrong = take_apart(given, None, _NOW)
    for model in _MODELS:
        schema: Mapping[str, Any] = model.versions[0].inputs.schema
        properties = schema["properties"]
        known = {name: value for name, value in request.inputs.items() if name in properties}
        found = [*wrong, *rules.unknown_inputs(request.inputs, properties), *rules.not_finite(known)]
        infinite = {violation.field.partition(".")[0].partition("[")[0] for violation in found}
        sound = {name: value for name, value in known.items() if name not in infinite}
        found += JsonSchemaChecker().check(properties, sound)
        complete = rules.with_defaults(sound, properties)
        found += rules.broken_rules(_rules(schema, "x-forge-rules"), complete)
        rules.inputs_without_effect(_rules(schema, "x-forge-effects"), known, complete, properties)
        assert all(violation.description for violation in found)


def links(data: bytes) -> None:
    """The token of a link to a video: none may be one that was not signed."""
    token = data.decode("utf-8", "replace")
    assert _LINKS.link(token) is None
    good = Link("default", "rnd_x", _NOW)
    assert _LINKS.link(_LINKS.token(good)) == good


def keys(data: bytes) -> None:
    """An API key as somebody typed it."""
    text = data.decode("utf-8", "replace")
    if accounts.is_well_formed(text):
        assert text.isascii()
        assert accounts.shown_prefix(text) != text


def ranges(data: bytes) -> None:
    """The headers that ask for a part of a file."""
    wanted, _, rest = data.decode("latin-1").partition("\n")
    since, _, tag = rest.partition("\n")
    is_known(_FILE, if_none_match=tag, if_modified_since=since)
    try:
        part = part_of(_FILE, wanted=wanted, if_range=tag or None)
    except NotSatisfiable:
        return
    assert part is None or 0 <= part.start <= part.stop <= _FILE.size


def urls(data: bytes) -> None:
    """An address that the platform is asked to call."""
    with suppress(UrlRefused):
        endpoint_of(data.decode("utf-8", "replace"), to_private=False)


def models(data: bytes) -> None:
    """A model's file, as an operator wrote it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.yaml")
        file.write_bytes(data)
        faults_of(file)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (images, data_uris, inputs, links, keys, ranges, urls, models)
}


def _body(data: bytes) -> dict[str, Any] | None:
    """The bytes as the body that a service would get of them, JSON or protobuf; None where it would get none."""
    try:
        if data[:1] == b"{":
            return body(json_format.ParseDict(json.loads(data), Struct()))
        return body(Struct.FromString(data))
    except Exception:  # no body: refused before anything of ours sees it
        return None


def _rules(schema: Mapping[str, Any], name: str) -> list[Rule]:
    return [Rule(stated["kind"], tuple(stated["fields"]), stated.get("text", "")) for stated in schema.get(name, ())]
