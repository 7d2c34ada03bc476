"""What estimates and receipts need from outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.billing_estimate.domain.basis import CostBasis
from services.billing_estimate.domain.calibration import Calibration, Outcome
from services.billing_estimate.domain.estimates import Wishes
from services.billing_estimate.domain.prices import Price
from services.billing_estimate.domain.receipts import AttemptUse, Receipt, RenderUse
from services.billing_estimate.domain.targets import Pin
from services.billing_estimate.domain.usage import Period, Usage

Inputs = Mapping[str, Any]
"""Inputs of a version, or a whole inference body, as JSON values."""


@dataclass(frozen=True)
class CheckedInput:
    """An inference body that a render could be made of, taken apart."""

    slug: str
    version: str
    inputs: Inputs
    pin: Pin
    wishes: Wishes
    deadline: datetime | None
    warnings: tuple[str, ...]


class PriceBook(Protocol):
    """What devices cost."""

    def prices(self) -> tuple[Price, ...]:
        """Past, present and future prices, ordered by device, region and when they begin to hold."""
        ...


class CostBases(Protocol):
    """What is known about the work of versions and the speed of targets."""

    async def of(self, slug: str, version: str, inputs: Inputs | None) -> CostBasis:
        """What an estimate of checked inputs rests on; the default version for "", the example's inputs for None.

        The catalogue's MODEL_NOT_FOUND and VERSION_NOT_FOUND; ServiceUnavailable when it does not answer.
        """
        ...


class InputChecks(Protocol):
    """Whether a render could be made of an inference body."""

    async def check(self, slug: str, body: Inputs) -> CheckedInput:
        """The body, complete. The scheduler's errors of a render; ServiceUnavailable when it does not answer."""
        ...


class ReceiptStore(Protocol):
    """Renders and their attempts, kept for ever. What belongs to an account is reached only by naming the account."""

    async def record(
        self, render: RenderUse, attempts: Sequence[AttemptUse], prices: Sequence[Price]
    ) -> Receipt | None:
        """Put on record how a render stands; its receipt when that made it final, None otherwise.

        A record that is not newer than the one there changes nothing, nor does any after the final one. An attempt
        that is on record stays as it is; a new one costs its own price, or else that of `prices` when it began.
        """
        ...

    async def receipt(self, account: str, render_id: str) -> Receipt | None:
        """The receipt of a render of the account."""
        ...

    async def usage(self, account: str, period: Period, *, slug: str | None, api_key_id: str | None) -> Usage:
        """What the account's attempts that ended in these days took."""
        ...

    async def outcomes(self, slug: str | None = None, version: str | None = None) -> Sequence[Outcome]:
        """The newest renders that can be compared with their estimates, up to NEWEST_RENDERS a version and target."""
        ...


class Meters(Protocol):
    """Figures for those who watch the installation."""

    def estimate_was_off(self, outcome: Outcome, *, simulated: bool) -> None:
        """A render has ended that had an estimate."""
        ...

    def calibrated(self, calibration: Calibration) -> None:
        """So far are estimates off now."""
        ...
