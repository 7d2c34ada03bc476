"""Whether more work is taken on: quotas of accounts, and how much waits already."""

from dataclasses import replace

from services.scheduler.domain.demand import entry_of
from services.scheduler.domain.errors import CostLimitExceeded, QuotaExceeded, TargetOverloaded
from services.scheduler.domain.placement import Expectations
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import Render
from services.scheduler.domain.shares import Day
from services.scheduler.ports import Catalog, Clock, Version
from services.scheduler.usecases.outlook import Outlook
from services.scheduler.usecases.queue import Queue

_LEAST_WAIT_SECONDS = 1.0


class Admission:
    """Refuses what would only wait in vain, and says when to come back."""

    def __init__(
        self, *, queue: Queue, outlook: Outlook, day: Day, catalog: Catalog, clock: Clock, policy: Policy
    ) -> None:
        self._queue = queue
        self._outlook = outlook
        self._day = day
        self._catalog = catalog
        self._clock = clock
        self._policy = policy

    async def admit(self, render: Render) -> Render:
        """The render with its outlook.

        Raises CostLimitExceeded, QuotaExceeded or TargetOverloaded when it is not to be accepted now.
        """
        version = await self._catalog.version(render.slug, render.model_version)
        render = await self._within_limits(render, version)
        demand = entry_of(render).demand
        policy, account = self._policy, render.account
        if policy.max_queued_per_account is not None and self._queue.count(account) >= policy.max_queued_per_account:
            seconds = await self._outlook.drain_seconds(version, demand)
            raise QuotaExceeded(
                "max_queued",
                f"{policy.max_queued_per_account} renders of this account wait already; that is the most it may have",
                max(_LEAST_WAIT_SECONDS, seconds / max(1, self._queue.count(account))),
            )
        now = self._clock.monotonic()
        if policy.gpu_seconds_per_day is not None and self._day.spent(account, now) >= policy.gpu_seconds_per_day:
            raise QuotaExceeded(
                "gpu_seconds_per_day",
                f"this account has used its {policy.gpu_seconds_per_day:.0f} GPU-seconds of 24 hours",
                max(_LEAST_WAIT_SECONDS, self._day.seconds_until_some_is_free(account, now)),
            )
        limit = policy.max_queued_gpu_seconds_per_target
        if limit is not None:
            waiting = await self._outlook.queued_seconds_per_slot(version, demand)
            if waiting >= limit:
                raise TargetOverloaded(str(render.pin), max(_LEAST_WAIT_SECONDS, waiting - limit))
        return await self._outlook.foreseen(render, version)

    async def _within_limits(self, render: Render, version: Version) -> Render:
        """The render with the targets that keep its limit of cost, warned of a time that none is expected to keep."""
        if render.max_cost_usd is None and render.finish_within_seconds is None:
            return render
        expectations = await self._outlook.expectations(version, render.shape)
        render = self._within_cost(render, version, expectations)
        wished = render.finish_within_seconds
        if wished is None:
            return render
        demand = entry_of(render).demand
        targets = {kind.target for kind in self._outlook.fleet.kinds_for(demand, version.vram_floor_gib)}
        soonest = min((expectations[target].seconds_p90(is_cold=False) for target in targets), default=0.0)
        if soonest <= wished:
            return render
        warning = (
            f"'finish_within_seconds' {wished:g} is less than any target is expected to take: nine of ten such renders "
            f"take up to {soonest:.0f} s; the fastest target is chosen"
        )
        return replace(render, warnings=(*render.warnings, warning))

    def _within_cost(self, render: Render, version: Version, expectations: Expectations) -> Render:
        """The render with the targets that keep its limit of cost.

        Where the cost of some is known, those of unknown cost are not chosen. A limit that none can keep is refused at
        once; one that means nothing is warned of.
        """
        if render.max_cost_usd is None:
            return render
        targets = {kind.target for kind in self._outlook.fleet.kinds_for(render.pin, version.vram_floor_gib)}
        known = {target: usd for target in targets if (usd := expectations[target].warm_usd) is not None}
        if not known:
            warning = "'max_cost_usd' has no effect: no price is known here"
            return replace(render, warnings=(*render.warnings, warning))
        affordable = {target for target, usd in known.items() if usd <= render.max_cost_usd}
        if not affordable:
            raise CostLimitExceeded(render.max_cost_usd, min(known.values()))
        return replace(render, affordable=() if affordable == targets else tuple(sorted(affordable)))
