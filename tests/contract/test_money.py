"""What a render says it cost is what its receipt says."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.billing_estimate.convert import receipts
from services.billing_estimate.domain.receipts import charge
from services.scheduler.convert.reports import use_to_proto
from services.scheduler.domain.facts import AttemptRecord, Outcome, Phase
from services.scheduler.domain.fleet import Target
from services.scheduler.domain.render import Render

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECONDS = st.floats(min_value=0.0, max_value=100_000.0)


@given(st.dictionaries(st.sampled_from(sorted(Phase)), SECONDS), st.floats(min_value=0.001, max_value=1000.0))
def test_the_scheduler_and_the_bill_reckon_an_attempt_to_the_same_microdollar(phases, usd_per_hour):
    record = AttemptRecord(
        attempt=1,
        epoch=1,
        runtime_id="rt_1",
        target=Target("H200", "eu-north2"),
        began_at=NOON,
        accrued_at=NOON,
        gpu_seconds=sum(phases.values()),
        usd_per_hour=usd_per_hour,
        ended_at=NOON,
        outcome=Outcome.SUCCEEDED,
        phase_gpu_seconds={phase.value: seconds for phase, seconds in phases.items()},
    )
    render = Render(id="rnd_1", account="ann", slug="alpha", model_version="v1", created_at=NOON, attempts=(record,))
    (use,) = receipts.attempts_from_proto(use_to_proto(render))
    assert charge(use, use.cost_per_gpu_hour_usd).cost_micro_usd == record.microdollars == render.microdollars
