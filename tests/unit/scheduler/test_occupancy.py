"""Whatever happens to runtimes, what is found of them is what one would find by looking at each."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.domain.fleet import Fleet, Slot, Target
from services.scheduler.domain.occupancy import Occupancy
from services.scheduler.domain.runtime import Runtime, RuntimeStatus
from services.scheduler.usecases.outlook import _nth_turn

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
BIG, SMALL = Target("H200", "north"), Target("L40S", "south")
FLEET = Fleet(
    "test",
    (
        Slot("s0", SMALL, "cpu", 48),
        Slot("s1", BIG, "cpu", 141),
        Slot("s2", SMALL, "cpu", 48),
        Slot("s3", BIG, "cpu", 80),
        Slot("s4", BIG, "cpu", 141),
    ),
)
VERSIONS = [("alpha", "v1"), ("beta", "v1")]

runtimes = st.builds(
    lambda number, slot, version, status, used, keep_warm, is_busy: Runtime(
        id=f"rt_{number}",
        slug=version[0],
        model_version=version[1],
        slot_id=slot,
        target=BIG,
        status=status,
        created_at=NOON,
        last_used_at=NOON + timedelta(seconds=used),
        keep_warm=keep_warm,
        render_id="rnd" if is_busy else None,
    ),
    st.integers(0, 7),
    st.sampled_from([*(slot.id for slot in FLEET.slots), "gone"]),
    st.sampled_from(VERSIONS),
    st.sampled_from(list(RuntimeStatus)),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
)
changes = st.lists(st.one_of(runtimes, st.integers(0, 7).map(lambda number: f"rt_{number}")), max_size=30)


def best(found, order):
    return min(found, key=order, default=None)


rooms = st.one_of(st.none(), st.tuples(*(st.integers(0, len(kind.slots)) for kind in FLEET.kinds)))


@given(changes, rooms)
def test_every_question_is_answered_as_if_each_runtime_were_looked_at(happened, room):
    occupancy, known = Occupancy(FLEET), {}
    for change in happened:
        if isinstance(change, str):
            assert occupancy.remove(change) == known.pop(change, None)
        else:
            occupancy.put(change)
            known[change.id] = change
    occupancy.make_room(room)
    room_of = dict(zip(FLEET.kinds, room or [len(kind.slots) for kind in FLEET.kinds], strict=True))
    assert {runtime.id: runtime for runtime in occupancy.all()} == known
    taken = {runtime.slot_id for runtime in known.values() if runtime.occupies_slot}
    for kind in FLEET.kinds:
        here = [runtime for runtime in known.values() if FLEET.kind_of.get(runtime.slot_id) is kind]
        busy = sum(slot.id in taken for slot in kind.slots)
        free = [slot for slot in kind.slots if slot.id not in taken][: max(0, room_of[kind] - busy)]
        assert occupancy.count_absent(kind) == len(kind.slots) - busy - len(free)
        assert occupancy.free([kind]) == free[:1]
        assert occupancy.count_free(kind) == len(free)
        assert [slot for slot in occupancy.free_slots() if slot in kind.slots] == free
        idle = [runtime for runtime in here if runtime.is_idle]
        assert occupancy.count_kept_idle([kind]) == sum(runtime.keep_warm for runtime in idle)
        unused = any(r.status in (RuntimeStatus.WARM, RuntimeStatus.STARTING) and not r.is_busy for r in here)
        assert (kind in occupancy.kinds_with_room()) == bool(free or unused)
        evictable = best([r for r in idle if not r.keep_warm], lambda r: (r.last_used_at, r.id))
        assert occupancy.evictable([kind]) == ([evictable] if evictable else [])
        newest = {}
        for runtime in sorted(here, key=lambda runtime: runtime.id):
            if runtime.occupies_slot:
                newest[runtime.slot_id] = runtime
        assert {runtime.slot_id: runtime for runtime in occupancy.occupying(kind)} == newest
        for version in VERSIONS:
            mine = [runtime for runtime in here if runtime.runs(*version)]
            ready = best([r for r in mine if r.is_idle], lambda r: (-r.last_used_at.timestamp(), r.id))
            assert occupancy.ready(version, [kind]) == ([ready] if ready else [])
            starting = [r for r in mine if r.status is RuntimeStatus.STARTING and not r.is_busy]
            first = best(starting, lambda r: r.id)
            assert occupancy.unclaimed(version, [kind]) == ([first] if first else [])
            usable = {r.id for r in mine if r.status in (RuntimeStatus.STARTING, RuntimeStatus.WARM)}
            assert {r.id for r in occupancy.usable(version, [kind])} == usable


slots_of_a_queue = st.lists(
    st.tuples(st.integers(0, 50).map(float), st.integers(1, 9).map(float)), min_size=1, max_size=6
)


@given(slots_of_a_queue, st.integers(1, 400))
def test_the_turn_in_a_long_queue_is_that_of_going_through_it_one_by_one(free_at, position):
    one_by_one = sorted(free_at)
    for _ in range(position - 1):
        begins, run = one_by_one.pop(0)
        one_by_one = sorted([*one_by_one, (begins + run, run)])
    assert _nth_turn(list(free_at), position) == one_by_one[0]
