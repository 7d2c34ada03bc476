"""Amounts, as messages hold them."""

from typing import overload


@overload
def microdollars(usd: float) -> float: ...
@overload
def microdollars(usd: float | None) -> float | None: ...
def microdollars(usd: float | None) -> float | None:
    """An amount without the dust of binary fractions: exact to a millionth of a dollar."""
    return None if usd is None else round(usd, 6)


@overload
def from_micro(millionths: int) -> float: ...
@overload
def from_micro(millionths: int | None) -> float | None: ...
def from_micro(millionths: int | None) -> float | None:
    """Dollars or seconds, from whole millionths: the number that is nearest."""
    return None if millionths is None else millionths / 1_000_000
