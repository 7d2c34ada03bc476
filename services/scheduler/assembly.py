"""The scheduler's use cases, wired with whatever is given."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.chassis.ids import new_id
from services.chassis.tasks import in_background
from services.scheduler.adapters.bell import LocalBell
from services.scheduler.domain.bulletin import Knowledge
from services.scheduler.domain.circuit import Circuits
from services.scheduler.domain.durations import Durations
from services.scheduler.domain.fleet import Fleet
from services.scheduler.domain.policy import Policy
from services.scheduler.domain.render import Render
from services.scheduler.domain.shares import Day, Shares
from services.scheduler.image_ports import ImageInputs
from services.scheduler.object_ports import Checkpoints, VideoAddresses, Videos
from services.scheduler.ports import (
    Catalog,
    Clock,
    Cluster,
    Estimates,
    InputChecker,
    Placer,
    Processes,
    RenderStore,
    RuntimeStore,
    Spans,
    Workers,
)
from services.scheduler.probe_ports import ProbeStore, TargetRows
from services.scheduler.replica_ports import BulletinBoard, Leadership, SharedRenders
from services.scheduler.usecases.admission import Admission
from services.scheduler.usecases.attempt import Attempt
from services.scheduler.usecases.bulletins import Bulletins
from services.scheduler.usecases.dispatcher import Dispatcher
from services.scheduler.usecases.fleet_view import FleetView
from services.scheduler.usecases.gauges import Gauges
from services.scheduler.usecases.giving_way import GivingWay
from services.scheduler.usecases.in_step import InStep
from services.scheduler.usecases.intake import Intake
from services.scheduler.usecases.keeping import Keeping
from services.scheduler.usecases.ordering import Ordering
from services.scheduler.usecases.outlook import Outlook
from services.scheduler.usecases.presence import keep_to_machines
from services.scheduler.usecases.probe_outlook import ProbeOutlook
from services.scheduler.usecases.prober import Prober
from services.scheduler.usecases.probes import Probes
from services.scheduler.usecases.probing_round import ProbingRound
from services.scheduler.usecases.queue import Queue
from services.scheduler.usecases.reaper import Reaper
from services.scheduler.usecases.renders import Renders
from services.scheduler.usecases.runtimes import Runtimes
from services.scheduler.usecases.scheduler import Scheduler
from services.scheduler.usecases.screening import Screening
from services.scheduler.usecases.tracing import Tracing
from services.scheduler.usecases.watching import Watching

Work = Callable[[], Coroutine[Any, Any, None]]
"""Something to do until it is canceled."""


@dataclass(frozen=True)
class Replication:
    """What a scheduler has to act as one with others on the same database."""

    leadership: Leadership
    renders: SharedRenders
    board: BulletinBoard


@dataclass
class Reign:
    """How far this process is with leading. It does so from `has_begun` on, and knows all it must from `is_settled`."""

    has_begun: bool = False
    is_settled: bool = False


@dataclass(frozen=True)
class Assembly:
    """The scheduler's use cases, wired."""

    scheduler: Scheduler
    intake: Intake
    view: FleetView
    runtimes: Runtimes
    dispatcher: Dispatcher
    probes: Probes | None
    """None for one that was assembled without a store for them."""
    reign: Reign


@asynccontextmanager
async def assembled(
    *,
    fleet: Fleet,
    store: RenderStore,
    runtime_store: RuntimeStore,
    placer: Placer,
    workers: Workers,
    catalog: Catalog,
    estimates: Estimates,
    videos: Videos,
    checkpoints: Checkpoints,
    checker: InputChecker,
    images: ImageInputs,
    spans: Spans,
    processes: Processes | None = None,
    clock: Clock,
    policy: Policy,
    addresses: VideoAddresses | None = None,
    probe_store: ProbeStore | None = None,
    target_rows: TargetRows | None = None,
    probe_round_seconds: float | None = None,
    replication: Replication | None = None,
    cluster: Cluster | None = None,
    further_works: Sequence[Work] = (),
    new_id: Callable[[str], str] = new_id,
    on_failure: Callable[[], None] = lambda: None,
) -> AsyncIterator[Assembly]:
    """Wire the use cases, take over what an earlier scheduler left, and place renders until the block ends.

    With a `replication` that is begun only when this process leads, as are the `further_works`; what other replicas
    write is followed all the time. `on_failure` is called when work ends by itself: the block must then end too, and
    raises what happened. On the way out nothing new is placed, attempts get the time they have, and then workers are
    ended and renders released.
    """
    bell, queue, news = LocalBell(), Queue(), asyncio.Event()
    durations, circuits, shares, day = Durations(), Circuits(), Shares(), Day()
    reign = Reign()
    renders = Renders(store=store, queue=queue, bell=bell, on_queued=news.set)
    runtimes = Runtimes(
        fleet=fleet,
        placer=placer,
        workers=workers,
        store=runtime_store,
        clock=clock,
        policy=policy,
        durations=durations,
        on_change=news.set,
        new_id=new_id,
    )
    outlook = Outlook(
        queue=queue,
        runtimes=runtimes,
        durations=durations,
        circuits=circuits,
        shares=shares,
        catalog=catalog,
        estimates=estimates,
        clock=clock,
        remaining=lambda render_id: bulletins.remaining_seconds(render_id),
        at_their_limit=lambda: bulletins.accounts_at_their_limit(),
    )

    def new_attempt(render: Render, max_run_seconds: float) -> Attempt:
        return Attempt(
            render,
            renders=renders,
            store=store,
            checkpoints=checkpoints,
            runtimes=runtimes,
            workers=workers,
            clock=clock,
            policy=policy,
            max_run_seconds=max_run_seconds,
        )

    giving_way = GivingWay(
        runtimes=runtimes,
        held=lambda: dispatcher.probes_under_way(),
        stop=lambda render_id, why: dispatcher.stop(render_id, why),
    )
    dispatcher = Dispatcher(
        store=store,
        renders=renders,
        queue=queue,
        runtimes=runtimes,
        outlook=outlook,
        catalog=catalog,
        shares=shares,
        day=day,
        durations=durations,
        circuits=circuits,
        clock=clock,
        policy=policy,
        attempts=new_attempt,
        giving_way=giving_way,
        news=news,
    )
    bulletins = Bulletins(
        board=replication.board if replication else None,
        knowledge=Knowledge(durations, circuits, shares, day),
        runtimes=runtimes,
        dispatcher=dispatcher,
        clock=clock,
        leads=lambda: reign.has_begun,
    )
    reaper = Reaper(store=store, renders=renders, queue=queue, dispatcher=dispatcher, clock=clock)
    intake = Intake(catalog, fleet, checker, images, clock)
    ordering = Ordering(
        intake=intake,
        admission=Admission(queue=queue, outlook=outlook, day=day, catalog=catalog, clock=clock, policy=policy),
        store=store,
        renders=renders,
        clock=clock,
        policy=policy,
        new_id=new_id,
    )
    watching = Watching(store=store, bell=bell, clock=clock, stands=outlook.stands)
    scheduler = Scheduler(
        ordering=ordering,
        store=store,
        renders=renders,
        dispatcher=dispatcher,
        outlook=outlook,
        watching=watching,
        screening=Screening(store=store, videos=videos, addresses=addresses, bell=bell, clock=clock),
        tracing=Tracing(spans),
        clock=clock,
    )
    async with AsyncExitStack() as stack:
        if replication is not None:
            in_step = InStep(
                renders=replication.renders,
                queue=queue,
                bell=bell,
                bulletins=bulletins,
                clock=clock,
                on_queued=news.set,
                cancel=dispatcher.cancel,
            )
            for following in (in_step.listen(), in_step.compare(), in_step.ring()):
                await stack.enter_async_context(in_background(following, on_failure=on_failure))
            # It ends when all is drained: only then another one may lead.
            taking_part = replication.leadership.run(in_step.hear_of)
            await stack.enter_async_context(in_background(taking_part, on_failure=on_failure))
        stack.push_async_callback(dispatcher.drain)
        keeping = Keeping(runtimes=runtimes, catalog=catalog, outlook=outlook, clock=clock)
        works: list[Work] = [dispatcher.run, reaper.run, runtimes.tend, keeping.run, *further_works]
        probes: Probes | None = None
        if probe_store is not None:
            probe_outlook = ProbeOutlook(
                outlook=outlook, runtimes=runtimes, queue=queue, giving_way=giving_way, catalog=catalog, store=store
            )
            prober = Prober(
                probes=probe_store,
                outlook=probe_outlook,
                ordering=ordering,
                watching=watching,
                dispatcher=dispatcher,
                runtimes=runtimes,
                renders=store,
                clock=clock,
            )
            probes = Probes(
                store=probe_store,
                outlook=probe_outlook,
                fleet=fleet,
                catalog=catalog,
                clock=clock,
                new_id=new_id,
                stop=dispatcher.stop,
                on_change=prober.wake,
            )
            works.append(prober.run)
            if target_rows is not None and probe_round_seconds:
                probing_round = ProbingRound(
                    probes=probes,
                    store=probe_store,
                    rows=target_rows,
                    runtimes=runtimes,
                    queue=queue,
                    clock=clock,
                    every_seconds=probe_round_seconds,
                )
                works.append(probing_round.run)
        if cluster is not None:
            works.append(partial(keep_to_machines, cluster, runtimes))
        if processes is not None:
            gauges = Gauges(
                queue=queue,
                runtimes=runtimes,
                circuits=circuits,
                running=dispatcher.running_by_model,
                processes=processes,
                clock=clock,
            )
            works.append(gauges.run)

        async def begin() -> None:
            reign.has_begun = True
            bulletins.forget()
            if cluster is not None:
                runtimes.know_machines(())  # until it is known which ones are there
            await dispatcher.recover()
            for work in works:
                await stack.enter_async_context(in_background(work(), on_failure=on_failure))
            reign.is_settled = True

        if replication is None:
            await begin()
        else:
            leading = _once_leading(replication.leadership, begin)
            await stack.enter_async_context(in_background(leading, on_failure=on_failure))
        view = FleetView(
            runtimes=runtimes, giving_way=giving_way, catalog=catalog, outlook=outlook, queue=queue, clock=clock
        )
        yield Assembly(scheduler, intake, view, runtimes, dispatcher, probes, reign)


async def _once_leading(leadership: Leadership, begin: Work) -> None:
    await leadership.gained()
    await begin()
    await asyncio.Event().wait()
