"""What the contract says is what the worker means."""

import pytest
from forge.worker.v1 import worker_service_pb2 as pb

from services.inference_worker import convert
from services.inference_worker.domain.attempt import AttemptEvent, Canceled, Failure, Kept, Paused, Phase, Reading

READING = Reading(Phase.DENOISING, 3, 10, 0.25, 12.0, None)


@pytest.mark.parametrize(("sent", "meant"), [(0, None), (1, 1), (30, 30)])
def test_step_zero_means_not_to_pause(sent, meant):
    assert convert.assignment(pb.RenderRequest(pause_after_step=sent)).pause_after_step == meant


@pytest.mark.parametrize(
    ("result", "field"),
    [
        (None, None),
        (Paused(), "paused"),
        (Canceled(), "canceled"),
        (Failure("WORKER_STOPPING", "the worker was told to end", retry=True), "failure"),
    ],
)
def test_every_way_to_end_has_a_field_of_its_own(result, field):
    assert convert.attempt_event_to_proto(AttemptEvent(4, READING, "", Kept(), result)).WhichOneof("result") == field


def test_a_paused_attempt_names_its_files():
    kept = Kept(preview_key="r/previews/00003.webp", checkpoint_key="r/checkpoint.safetensors")
    told = convert.attempt_event_to_proto(AttemptEvent(4, READING, "paused", kept, Paused()))
    assert (told.preview_key, told.checkpoint_key, told.done_steps) == (kept.preview_key, kept.checkpoint_key, 3)
    assert not told.HasField("eta_seconds_p90")
