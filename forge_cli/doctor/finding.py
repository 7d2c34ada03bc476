"""What a check finds, and a round of checks of which none can hide another."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

State = Literal["pass", "warn", "fail"]
Ground = TypeVar("Ground")


@dataclass(frozen=True)
class Finding:
    """One thing that is so. `remedy` says what to do about it, where it is not well."""

    check: str
    state: State
    text: str
    remedy: str = ""


def well(check: str, text: str) -> Finding:
    """All is as it should be."""
    return Finding(check, "pass", text)


def doubtful(check: str, text: str, remedy: str) -> Finding:
    """Forge works, but somebody should know."""
    return Finding(check, "warn", text, remedy)


def broken(check: str, text: str, remedy: str) -> Finding:
    """Something must be mended."""
    return Finding(check, "fail", text, remedy)


def examined(ground: Ground, checks: Mapping[str, Callable[[Ground], Iterable[Finding]]]) -> Iterator[Finding]:
    """The findings of each check in turn; a check that breaks is a finding itself."""
    for name, check in checks.items():
        try:
            yield from check(ground)
        except Exception as error:  # whatever is broken here must not hide what the others find
            what = f"cannot be looked at: {type(error).__name__}: {error}"
            yield broken(name, what, "mend what the others find first; if it stays, report it")
