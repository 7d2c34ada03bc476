"""Numbers and times as people read them. What is not known is a dash."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

NOT_KNOWN = "–"
_SIZES = ((1_000, "kB"), (1_000_000, "MB"), (1_000_000_000, "GB"))


def seconds(value: float | None) -> str:
    """A duration: "0.84 s", "12.3 s", "2 min 05 s"."""
    if value is None:
        return NOT_KNOWN
    if value < 9.995:
        return f"{value:.2f} s"
    if value < 99.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def milliseconds(value: float | None) -> str:
    """A duration given in milliseconds."""
    return seconds(None if value is None else value / 1000)


def age(value: float | None) -> str:
    """How long ago, roughly: "40 s", "12 min", "3 h", "9 d"."""
    if value is None:
        return NOT_KNOWN
    for size_seconds, unit, limit in ((1, "s", 60), (60, "min", 3600), (3600, "h", 48 * 3600)):
        if value < limit:
            return f"{int(value / size_seconds)} {unit}"
    return f"{int(value / 86_400)} d"


def dollars(value: float | None) -> str:
    """An amount in US dollars with the digits that matter at its size: "$4.50", "$0.0123", "$0.000150"."""
    if value is None:
        return NOT_KNOWN
    if value >= 1 or value == 0:
        return f"${value:,.2f}"
    return f"${value:.4f}" if value >= 0.001 else f"${value:.6f}"


def exact_dollars(value: float | None) -> str:
    """An amount to the millionth, so that amounts below each other can be added up."""
    return NOT_KNOWN if value is None else f"${value:,.6f}"


def share(value: float | None) -> str:
    """A share of a whole: "97 %"."""
    return NOT_KNOWN if value is None else f"{value * 100:.0f} %"


def difference(value: float | None) -> str:
    """How far something is from what it is compared with: "+12 %", "−36 %", "0 %"."""
    if value is None:
        return NOT_KNOWN
    whole = round(value * 100)
    return f"{whole:+d} %".replace("-", "−") if whole else "0 %"


def gib(value: float | None) -> str:
    """An amount of memory: "12.4 GiB"."""
    return NOT_KNOWN if value is None else f"{value:.1f} GiB"


def size(count: float | None) -> str:
    """A number of bytes: "640 B", "12.5 kB", "3.1 MB"."""
    if count is None:
        return NOT_KNOWN
    if count < 1000:
        return f"{count:.0f} B"
    power, unit = next(known for known in _SIZES if count < known[0] * 1000 or known is _SIZES[-1])
    return f"{count / power:.1f} {unit}"


def target(found: Mapping[str, Any] | None) -> str:
    """A target: "H200 in eu-north2"; simulated ones say so."""
    if not found or not found.get("gpu_type"):
        return NOT_KNOWN
    return f"{found['gpu_type']} in {found['region']}{' (simulated)' if found.get('simulated') else ''}"


def moment(stamp: str | None) -> str:
    """A time of the contract, in UTC to the second: "2026-11-27 14:03:11"."""
    found = when(stamp)
    return NOT_KNOWN if found is None else found.strftime("%Y-%m-%d %H:%M:%S")


def when(stamp: str | None) -> datetime | None:
    """A time of the contract; None for none."""
    return datetime.fromisoformat(stamp).astimezone(UTC) if stamp else None


def count(number: int, noun: str, plural: str = "") -> str:
    """How many of something: "1 sample", "12 samples"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def reason(name: str | None) -> str:
    """A reason of the contract in words: "WORKER_LOST" is "worker lost"."""
    return (name or "").replace("_", " ").lower()
