"""The fleet at a glance."""

from typing import Any

from services.web.domain.fleet import failures_of, sums_of, targets_of


def a_target(**given: Any) -> dict[str, Any]:
    return {
        "gpu_type": "H200",
        "region": "north",
        "total_slots": 5,
        "free_slots": 1,
        "busy_runtimes": 2,
        "idle_runtimes": 1,
        "queued_renders": 3,
    } | given


def a_runtime(**given: Any) -> dict[str, Any]:
    return {"id": "rt", "gpu_type": "H200", "region": "north", "slug": "toy", "status": "warm", "busy": False} | given


def a_measurement(at: str, **given: Any) -> dict[str, Any]:
    return {"outcome": "failed", "measured_at": at} | given


def test_every_slot_is_a_square_of_its_own() -> None:
    (target,) = targets_of([a_target()], [])

    assert target.slots == ("busy", "busy", "warm", "starting", "free")
    assert target.used_slots == 4


def test_slots_whose_machine_is_not_there_are_neither_used_nor_free() -> None:
    (target,) = found = targets_of([a_target(absent_slots=1)], [])

    assert target.slots == ("busy", "busy", "warm", "free", "absent")
    assert target.used_slots == 3
    assert (sums_of(found).used, sums_of(found).absent) == (3, 1)


def test_runtimes_stand_with_their_target_those_at_work_first() -> None:
    targets = targets_of(
        [a_target(), a_target(region="south")],
        [a_runtime(id="idle"), a_runtime(id="busy", busy=True), a_runtime(id="far", region="south")],
    )

    assert [[runtime["id"] for runtime in target.runtimes] for target in targets] == [["busy", "idle"], ["far"]]


def test_sums_are_of_all_targets() -> None:
    sums = sums_of(targets_of([a_target(), a_target(region="south")], []))

    assert (sums.slots, sums.used, sums.busy, sums.idle, sums.queued) == (10, 8, 4, 2, 6)


def test_failures_of_all_models_are_newest_first() -> None:
    found = failures_of(
        [
            a_measurement("2026-11-01T00:00:00Z"),
            a_measurement("2026-11-03T00:00:00Z", outcome="lost"),
            a_measurement("2026-11-04T00:00:00Z", outcome="succeeded"),
            a_measurement("2026-11-02T00:00:00Z"),
        ]
    )

    assert [failure["measured_at"][:10] for failure in found] == ["2026-11-03", "2026-11-02", "2026-11-01"]


def test_no_more_failures_are_shown_than_can_be_read() -> None:
    assert len(failures_of(a_measurement(f"2026-11-01T00:00:{second:02d}Z") for second in range(60))) == 20
