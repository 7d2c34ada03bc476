"""Pages of the contract: services, messages, and errors with what to do about them."""

from collections.abc import Iterable, Set

from docs.site.markdown import paragraphs, said, table, target
from services.web.domain.reference import Call, Field, Message, Reason, Service, Type

_MESSAGES = """# Messages

What answers are made of. In JSON names are as they stand here; a field that *may be absent* is left out while
it is not known.
"""
_ERRORS = """# Errors

An error is a `google.rpc.Status`. The `reason` of its `google.rpc.ErrorInfo`, whose `domain` is `forge`, is one
of these. Messages may change, reasons do not.
"""
_ERRORS_OF_RENDERS = """## In a render's own error

These are no answers to a call: they say in `error` why a render failed.
"""


def service_page(service: Service, errors: Iterable[str]) -> str:
    """A service and its calls, as REST and as gRPC. What their comments name of `errors` are links."""
    known = frozenset(errors)
    head = f"# {service.name}\n\n{paragraphs(service.comment)}\n\nIn gRPC it is `{service.full_name}`.\n"
    return "\n".join([head, *(_call(call, known) for call in service.calls)])


def messages_page(messages: Iterable[Message]) -> str:
    """Every message that answers are made of."""
    return "\n".join([_MESSAGES, *(_message(message) for message in messages)])


def errors_page(reasons: Iterable[Reason]) -> str:
    """Every reason of an error."""
    known = list(reasons)
    of_calls = [_reason(reason) for reason in known if reason.http_status is not None]
    of_renders = [_reason(reason, level=3) for reason in known if reason.http_status is None]
    return "\n".join([_ERRORS, *of_calls, _ERRORS_OF_RENDERS, *of_renders])


def _call(call: Call, errors: Set[str]) -> str:
    answer = _type(call.response)
    stream = "a stream of " if call.is_stream else ""
    rows = [(f"`{field.name}`", _type(field.type), field.place, said(field.comment)) for field in call.request]
    return "\n".join(
        [
            f"({target(call.full_name)})=\n## {call.name}\n",
            f"`{call.http_method} {call.http_path}` · scope `{call.scope}` · gRPC `{call.grpc_path}`\n",
            f"{paragraphs(call.comment, errors)}\n",
            table(("Field", "Type", "In", "What it is"), rows),
            f"Answers {stream}{answer}.\n",
        ]
    )


def _message(message: Message) -> str:
    rows = [(f"`{field.name}`", _presence(field), said(field.comment)) for field in message.fields]
    return "\n".join(
        [
            f"({target(message.full_name)})=\n## {message.name}\n",
            f"`{message.full_name}`\n\n{paragraphs(message.comment)}\n",
            table(("Field", "Type", "What it is"), rows),
        ]
    )


def _presence(field: Field) -> str:
    return f"{_type(field.type)}, *may be absent*" if field.is_optional else _type(field.type)


def _type(found: Type) -> str:
    return f"[{said(found.text)}](#{target(found.message)})" if found.message else said(found.text)


def _reason(reason: Reason, *, level: int = 2) -> str:
    codes = f"HTTP {reason.http_status}, gRPC `{reason.grpc_code}`\n\n" if reason.http_status is not None else ""
    remedy = f"\n\n**What to do:** {said(reason.remedy)}" if reason.remedy else ""
    return f"({target(reason.name)})=\n{'#' * level} `{reason.name}`\n\n{codes}{said(reason.meaning)}{remedy}\n"
