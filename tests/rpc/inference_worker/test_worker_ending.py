"""Worker processes that end in the middle of a render: told to, or because nobody asks for them any more."""

import asyncio
import signal

import pytest

from tests.rpc.inference_worker.asking import SMALL, load, render

SLOW = {**SMALL, "width": 192, "height": 192, "num_frames": 8, "num_inference_steps": 16}
"""Takes seconds, in steps that take a fraction of one."""
ALONE = {"FORGE_WORKER_THREADS": "1"}  # checkpoints are of as many threads as they were made with


@pytest.mark.slow
async def test_what_a_worker_gives_back_when_told_to_end_another_finishes_bit_for_bit(
    start_process, load_request, render_request
):
    patient = {**ALONE, "FORGE_SHUTDOWN_GRACE_SECONDS": "120", "FORGE_WORKER_CHECKPOINT_SECONDS": "1000"}
    one, other = await start_process("worker-1", **patient), await start_process("worker-2", **ALONE)
    await asyncio.gather(load(one, load_request()), load(other, load_request()))
    undisturbed = (await render(other, render_request("undisturbed", **SLOW))).output

    told = []
    async for event in one.stub.Render(render_request("r1", **SLOW)):
        if event.done_steps == 3 and (not told or told[-1].done_steps < 3):
            one.process.send_signal(signal.SIGTERM)
        told.append(event)
    last = told[-1]
    assert (last.failure.reason, last.failure.retry) == ("WORKER_STOPPING", True)
    assert last.checkpoint_key
    assert last.done_steps == max(event.done_steps for event in told) < 16
    assert await one.ended() == 0

    again = render_request("r1", epoch=2, checkpoint_key=last.checkpoint_key, **SLOW)
    events = [event async for event in other.stub.Render(again)]
    assert next(event for event in events if event.phase == "denoising").done_steps == last.done_steps
    assert events[-1].output.sha256 == undisturbed.sha256
    assert events[-1].output.warnings == undisturbed.warnings


@pytest.mark.slow
async def test_a_worker_that_lost_its_scheduler_leaves_a_checkpoint_and_ends(
    start_process, load_request, render_request, tmp_path
):
    orphan = await start_process(
        "orphan",
        **ALONE,
        FORGE_WORKER_ORPHAN_TIMEOUT_SECONDS="2",
        FORGE_SHUTDOWN_GRACE_SECONDS="120",
        FORGE_WORKER_CHECKPOINT_SECONDS="1000",
    )
    await load(orphan, load_request())
    call = orphan.stub.Render(render_request("r1", **{**SLOW, "num_inference_steps": 1000}))
    async for event in call:
        if event.done_steps == 1:
            break
    call.cancel()
    assert await orphan.ended() == 0
    assert (tmp_path / "objects" / "renders" / "r1" / "1" / "checkpoint.safetensors").stat().st_size > 5_000


@pytest.mark.slow
async def test_those_who_follow_a_worker_that_is_in_a_hurry_to_end_still_hear_how_their_render_ended(
    start_process, load_request, render_request
):
    process = await start_process("hurried", **ALONE, FORGE_SHUTDOWN_GRACE_SECONDS="2")
    await load(process, load_request())
    large = {**SMALL, "width": 768, "height": 448, "num_frames": 25, "num_inference_steps": 100}
    told = []
    async for event in process.stub.Render(render_request("r1", **large)):
        if event.phase == "denoising" and told[-1].phase != "denoising":
            process.process.send_signal(signal.SIGTERM)
        told.append(event)
    assert told[-1].failure.reason == "WORKER_STOPPING"
    assert await process.ended() == 0
