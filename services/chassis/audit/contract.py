"""Which RPCs the contract has audited, and the fields in which they name what they change."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

from forge.common.v1 import access_pb2
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from services.chassis.contract import descriptor_set
from services.chassis.errors import ForgeError

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class AuditedRpc:
    """An RPC whose calls are kept, by its name and the fields that name what is changed."""

    name: str
    """As "package.Service/Method"."""
    fields: tuple[str, ...]
    """Paths that begin with "request." or "response."."""

    def named_in(self, message: Message, part: str) -> Iterator[str]:
        """What `message`, the "request" or the "response", says in those fields."""
        for path in self.fields:
            of, *names = path.split(".")
            if of == part:
                yield from _values((message,), names)


class CallKeeper(Protocol):
    """Who keeps audited calls on record."""

    async def kept(self, rpc: AuditedRpc, request: object, answer: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `answer` gives or raises, once it is on record, for a call that was admitted.

        Raises StoreUnavailable before anything has happened when it cannot be put on record.
        """
        ...

    async def refused(self, rpc: AuditedRpc, request: object, refusal: ForgeError) -> None:
        """Keep a call of a known caller that was not admitted."""
        ...


@cache
def audited_names() -> tuple[str, ...]:
    """Every RPC that is audited, of whichever service, as "package.Service/Method"."""
    return tuple(
        f"{file.package}.{service.name}/{method.name}"
        for file in descriptor_set().file
        for service in file.service
        for method in service.method
        if method.options.Extensions[access_pb2.audited]
    )


@cache
def audited_rpc(method: str) -> AuditedRpc | None:
    """What the contract says of "/package.Service/Method"; None for an RPC that is not audited."""
    name = method.removeprefix("/")
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(name.replace("/", "."))
    except KeyError:
        return None
    options = descriptor.GetOptions().Extensions
    if not options[access_pb2.audited]:
        return None
    return AuditedRpc(name, tuple(options[access_pb2.audited_resource]))


def _values(messages: Iterable[Message], names: list[str]) -> Iterator[str]:
    """The strings at the end of a path of field names; a field that is repeated has all of its values looked at."""
    name, *further = names
    for message in messages:
        field: Any = message.DESCRIPTOR.fields_by_name[name]  # `is_repeated` is newer than the stubs
        values = getattr(message, name) if field.is_repeated else (getattr(message, name),)
        if further:
            yield from _values(values, further)
        else:
            yield from filter(None, values)
