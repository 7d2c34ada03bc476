"""The rules of rate limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.accounts.config import Settings
from services.accounts.domain import ApiKey
from services.accounts.rates import RateLimit, counted
from services.accounts.usecases.rate_limits import SWEEP_SECONDS, RateLimits
from services.chassis.clock import SystemClock
from tests.rpc.accounts.conftest import StoppedClock

SECOND_NS = 1_000_000_000
LIMITS = st.builds(RateLimit, st.floats(0.01, 10_000), st.integers(1, 1_000))
PAUSES_NS = st.lists(st.integers(0, 3 * SECOND_NS), max_size=200)


def passed_at(limit: RateLimit, pauses_ns: list[int]) -> list[int]:
    """When the requests that pass come, of some with these pauses before them."""
    now_ns, full_at_ns, passed = 0, 0, []
    for pause_ns in pauses_ns:
        now_ns += pause_ns
        full_at_ns, allowance = counted(limit, full_at_ns, now_ns)
        if allowance.retry_after_seconds is None:
            passed.append(now_ns)
    return passed


@given(limit=LIMITS, pauses_ns=PAUSES_NS)
def test_in_no_stretch_of_time_more_pass_than_the_burst_and_what_the_rate_adds(limit, pauses_ns):
    passed = passed_at(limit, pauses_ns)
    for first, start_ns in enumerate(passed):
        for last in range(first, len(passed)):
            allowed = limit.burst + (passed[last] - start_ns) // limit.period_ns
            assert last - first + 1 <= allowed


@given(limit=LIMITS)
def test_after_a_silence_exactly_the_burst_passes_at_once(limit):
    assert len(passed_at(limit, [0] * (limit.burst + 3))) == limit.burst


@given(limit=LIMITS, count=st.integers(1, 200))
def test_who_keeps_to_the_rate_is_never_refused(limit, count):
    assert len(passed_at(limit, [limit.period_ns] * count)) == count


@given(limit=LIMITS, pauses_ns=PAUSES_NS)
def test_who_waits_as_long_as_told_passes_and_who_comes_sooner_does_not(limit, pauses_ns):
    now_ns, full_at_ns = 0, 0
    for pause_ns in [*pauses_ns, *[0] * limit.burst]:
        now_ns += pause_ns
        full_at_ns, allowance = counted(limit, full_at_ns, now_ns)
        if allowance.retry_after_seconds is not None:
            wait_ns = round(allowance.retry_after_seconds * SECOND_NS)
            assert counted(limit, full_at_ns, now_ns + wait_ns)[1].retry_after_seconds is None
            assert counted(limit, full_at_ns, now_ns + wait_ns - 1)[1].retry_after_seconds is not None


@given(limit=LIMITS, pauses_ns=PAUSES_NS)
def test_what_remains_is_what_may_come_at_once(limit, pauses_ns):
    now_ns, full_at_ns = 0, 0
    for pause_ns in pauses_ns[:5]:
        now_ns += pause_ns
        full_at_ns, allowance = counted(limit, full_at_ns, now_ns)
        assert 0 <= allowance.remaining <= limit.burst
        after, passed = full_at_ns, 0
        while passed <= limit.burst:
            after, next_one = counted(limit, after, now_ns)
            if next_one.retry_after_seconds is not None:
                break
            passed += 1
        assert passed == allowance.remaining


@given(limit=LIMITS, pauses_ns=PAUSES_NS)
def test_a_refused_request_changes_nothing(limit, pauses_ns):
    now_ns, full_at_ns = 0, 0
    for pause_ns in pauses_ns:
        now_ns += pause_ns
        before = max(full_at_ns, now_ns)
        full_at_ns, allowance = counted(limit, full_at_ns, now_ns)
        if allowance.retry_after_seconds is not None:
            assert full_at_ns == before


def a_key(key_id: str, limit: RateLimit | None = None) -> ApiKey:
    now = SystemClock().now()
    return ApiKey(key_id, "default", "a key", "forge_local_", frozenset({"read"}), now, rate_limit=limit)


def test_a_key_whose_burst_is_whole_again_is_forgotten():
    clock = StoppedClock()
    limits = RateLimits(RateLimit(10, 10), clock)
    for number in range(1000):
        limits.count(a_key(f"key_{number}"))
    slow = a_key("slow", RateLimit(0.01, 5))
    limits.count(slow)
    assert len(limits) == 1001
    clock.pass_time(seconds=SWEEP_SECONDS)
    limits.count(a_key("key_0"))
    assert len(limits) == 2  # the slow one is not whole yet
    allowance = limits.count(slow)
    assert allowance is not None
    assert allowance.remaining == 3


def test_without_a_limit_nothing_is_counted():
    limits = RateLimits(None, StoppedClock())
    assert limits.count(a_key("key_1")) is None
    assert len(limits) == 0
    assert limits.count(a_key("key_1", RateLimit(1, 1))) is not None


@pytest.mark.parametrize(
    ("given_settings", "expected"),
    [
        ({}, RateLimit(100, 200)),
        ({"rate_limit_per_second": 0.5, "rate_limit_burst": 3}, RateLimit(0.5, 3)),
        ({"rate_limit_per_second": 0}, None),
    ],
)
def test_the_limit_of_an_installation_is_a_setting_and_nought_is_without_one(given_settings, expected):
    assert Settings(**given_settings).rate_limit == expected


@pytest.mark.parametrize("rate", [-1, 0.001, 10_001, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused_at_the_start(rate):
    with pytest.raises(ValueError, match="must be 0, for no limit"):
        Settings(rate_limit_per_second=rate)
