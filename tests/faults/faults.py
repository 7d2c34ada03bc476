"""Every fault, in the order in which they are tried."""

from tests.faults import (
    buckets,
    clusters,
    crowds,
    databases,
    dice,
    draining,
    endings,
    outages,
    poison,
    replicas,
    services,
    workers,
)
from tests.faults.fault import Fault
from tests.faults.settings import NARROW, ON_CLUSTER, ON_SERVERS, WIDE

SERVICES = {
    "catalog": "services.catalog",
    "billing-estimate": "services.billing_estimate",
    "accounts": "services.accounts",
    "web": "services.web",
    "traces": "services.traces",
    "Envoy": "envoy.yaml",
}

FAULTS = (
    Fault("kill -9 a worker at 60 %", workers.killed_at_60_percent, WIDE, full=20),
    Fault("a worker's connection closes", workers.noticed_at_once, WIDE, full=20, quick=0),
    Fault("a worker hangs", workers.hung, WIDE, full=5, quick=0),
    Fault("a worker hangs past its lease and goes on", workers.zombie, WIDE, full=10),
    Fault("kill -9 the scheduler, 200 queued, all slots busy", services.scheduler_under_load, WIDE, full=5),
    *(
        Fault(f"kill -9 {name} under load", services.service_under_load(module), WIDE, full=5)
        for name, module in SERVICES.items()
    ),
    Fault(
        "kill -9 the scheduler while a client waits",
        services.client_cut_off("services.scheduler"),
        WIDE,
        full=5,
        quick=0,
    ),
    Fault("kill -9 Envoy while a client waits", services.client_cut_off("envoy.yaml"), WIDE, full=5),
    Fault(
        "kill -9 the scheduler in the middle of a webhook's message",
        services.scheduler_in_the_middle_of_a_message,
        WIDE,
        full=5,
    ),
    Fault("SIGTERM to a worker", draining.worker, WIDE, full=10),
    Fault("SIGTERM to the scheduler", draining.scheduler, WIDE, full=5, quick=0),
    Fault("SIGTERM to the whole platform", draining.whole_stack, WIDE, full=5, quick=0),
    Fault("50 creates with one key at once", crowds.one_key, WIDE, full=20),
    Fault("cancel: queued, paused", endings.cancel_waiting, WIDE, full=5),
    Fault("cancel: starting", endings.cancel_starting, WIDE, full=5),
    *(Fault(f"cancel: {phase}", endings.cancel_in(phase), WIDE, full=5) for phase in endings.PHASES),
    Fault("cancel: storing", endings.cancel_storing, WIDE, full=5),
    Fault("cancel: nobody hears it", endings.cancel_unheard, WIDE, full=3, quick=0),
    Fault("cancel: ended", endings.cancel_ended, WIDE, full=5),
    Fault("deadline: queued", endings.deadline_waiting, WIDE, full=5),
    Fault("deadline: starting", endings.deadline_starting, WIDE, full=5),
    *(Fault(f"deadline: {phase}", endings.deadline_in(phase), WIDE, full=5) for phase in endings.PHASES),
    Fault("deadline: storing", endings.deadline_storing, WIDE, full=5),
    Fault("deadline: canceling", endings.deadline_canceling, WIDE, full=5),
    Fault("deadline: ended", endings.deadline_ended, WIDE, full=5),
    Fault("kill -9 by dice", dice.dice, WIDE, full=200, is_sized=True),
    Fault("9,000 renders of one account beside 99 small ones", crowds.fair_share, WIDE, full=1),
    Fault("a render that kills its workers", poison.poison, WIDE, full=1),  # after which its target is spared
    Fault("five times too many", crowds.overload, NARROW, full=5),
    Fault("disk full: state", outages.state_full, NARROW, full=5),
    Fault("disk full: outputs", outages.outputs_full, NARROW, full=5),
    *(
        Fault(
            f"the clock of {whose} jumps 10 min", outages.clock_jumps(which), NARROW, full=5, quick=int(which == "both")
        )
        for which, whose in (("scheduler", "the scheduler"), ("workers", "the workers"), ("both", "both"))
    ),
    Fault("PostgreSQL is restarted", databases.restarted("fast"), ON_SERVERS, full=5, quick=0),
    Fault("PostgreSQL loses power", databases.restarted("immediate"), ON_SERVERS, full=5),
    Fault("PostgreSQL is away for a while", databases.away, ON_SERVERS, full=5, quick=0),
    Fault("PostgreSQL: every backend is killed", databases.backends_killed, ON_SERVERS, full=5, quick=0),
    Fault("PostgreSQL: all connections are taken", databases.connections_taken, ON_SERVERS, full=5, quick=0),
    Fault("kill -9 the scheduler that leads, of two", replicas.leader_killed, ON_SERVERS, full=5),
    Fault("kill -9 the scheduler that does not lead", replicas.follower_killed, ON_SERVERS, full=5, quick=0),
    Fault("the scheduler that leads hangs and goes on", replicas.leader_frozen, ON_SERVERS, full=5, quick=0),
    Fault("the object store is killed while videos are stored", buckets.killed_while_storing, ON_SERVERS, full=5),
    Fault("the object store refuses every other request", buckets.refuses_half, ON_SERVERS, full=5),
    Fault("the object store is slow", buckets.slow, ON_SERVERS, full=3, quick=0),
    Fault("kill -9 the Ray actor of a worker", clusters.actor_killed, ON_CLUSTER, full=5),
    Fault("a machine of the Ray cluster is lost", clusters.machine_lost, ON_CLUSTER, full=5),
    Fault("the head of the Ray cluster is lost", clusters.head_killed, ON_CLUSTER, full=5),
    Fault("500 renders over the machines of a Ray cluster", clusters.each_on_its_target, ON_CLUSTER, full=1),
)
