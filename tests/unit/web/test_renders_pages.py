"""The list of renders and the page of one."""

from __future__ import annotations  # grpc classes are generic in their stubs only

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from forge.billing.v1 import receipt_pb2
from forge.catalog.v1 import catalog_service_pb2, model_pb2
from forge.common.v1 import target_pb2
from forge.scheduler.v1 import render_pb2, render_service_pb2, render_service_pb2_grpc, render_trace_pb2

from services.chassis.errors import ForgeError, Kind
from services.chassis.server import Mount, serving
from services.chassis.wire import timestamp
from tests.unit.web.conftest import Browser
from tests.unit.web.fake_platform import Platform
from tests.unit.web.markup import faults, read

TARGET = target_pb2.Target(gpu_type="H200", region="eu-north2")
TIMES = ("created_at", "started_at", "ended_at", "expires_at", "deadline", "at")
SERVICE = render_service_pb2.DESCRIPTOR.services_by_name["RenderService"]


def stamped(message: Any, given: dict[str, Any]) -> Any:
    """A message with the times among its facts, which are seconds after noon."""
    for name in TIMES:
        if name in given:
            getattr(message, name).FromJsonString(f"2026-11-27T12:00:{given[name]:02d}Z")
    return message


def without_times(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in TIMES}


def a_render(status: str = "running", **given: Any) -> render_pb2.Render:
    facts: dict[str, Any] = {
        "id": "rnd_1",
        "slug": "toy",
        "model_version": "v1",
        "status": status,
        "phase": "done" if status == "succeeded" else "denoising",
        "progress": render_pb2.Progress(done_steps=12, total_steps=40, fraction=0.31),
        "target": TARGET,
        "attempt": 1,
        "attempts": [an_attempt(status)],
        "last_seq": len(LOG),
        "created_at": 0,
    }
    facts |= given
    return stamped(render_pb2.Render(**without_times(facts)), facts)


def an_attempt(outcome: str = "running", number: int = 1, **given: Any) -> render_pb2.RenderAttempt:
    facts = {"attempt": number, "target": TARGET, "outcome": outcome, "started_at": 1} | given
    return stamped(render_pb2.RenderAttempt(**without_times(facts)), facts)


def an_event(seq: int, at: int, status: str, phase: str, message: str, **given: Any) -> render_pb2.RenderEvent:
    facts: dict[str, Any] = {"seq": seq, "status": status, "phase": phase, "message": message, "attempt": 1} | given
    return stamped(render_pb2.RenderEvent(**facts), {"at": at})


def a_step(seq: int, at: int, step: int, **given: Any) -> render_pb2.RenderEvent:
    progress = render_pb2.Progress(done_steps=step, total_steps=40)
    return an_event(seq, at, "running", "denoising", f"step {step} of 40", progress=progress, **given)


LOG = [
    an_event(1, 0, "queued", "queued", "accepted", attempt=0),
    an_event(2, 1, "running", "starting", "starting a runtime"),
    an_event(3, 3, "running", "denoising", "denoising begins"),
    *(a_step(3 + step, 3 + step, step, preview_url=f"/p/{step // 4}" if step > 3 else "") for step in range(1, 13)),
]


@dataclass
class WatchedPlatform(Platform):
    """A platform whose renders can be watched."""

    log: list[render_pb2.RenderEvent] = field(default_factory=lambda: list(LOG))

    def serving(self, service: str) -> AbstractAsyncContextManager[int]:
        """As every platform; the scheduler has renders only."""
        if service != "scheduler":
            return super().serving(service)
        add = render_service_pb2_grpc.add_RenderServiceServicer_to_server
        renders = _Renders(self)  # pyright: ignore[reportAbstractUsage] — nobody makes the other calls
        return serving("127.0.0.1:0", [Mount(SERVICE, add, renders)], grace_seconds=0)


class _Renders(render_service_pb2_grpc.RenderServiceServicer):
    def __init__(self, platform: WatchedPlatform) -> None:
        self._platform = platform

    async def GetRender(self, request: Any, context: Any) -> Any:  # noqa: N802 — as in the contract
        return self._platform.answer("GetRender", request, render_pb2.Render)

    async def ListRenders(self, request: Any, context: Any) -> Any:  # noqa: N802 — as in the contract
        return self._platform.answer("ListRenders", request, render_service_pb2.ListRendersResponse)

    async def GetRenderTrace(self, request: Any, context: Any) -> Any:  # noqa: N802 — as in the contract
        return self._platform.answer("GetRenderTrace", request, render_trace_pb2.RenderTrace)

    async def WatchRender(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 — as in the contract
        for event in self._platform.log:
            yield event


@pytest.fixture
def platform() -> WatchedPlatform:
    models = catalog_service_pb2.ListModelsResponse(models=[model_pb2.Model(slug="toy"), model_pb2.Model(slug="other")])
    return WatchedPlatform(answers={"ListModels": models, "GetReceipt": NO_RECEIPT, "GetRender": a_render()})


NO_RECEIPT = ForgeError("there is no receipt", kind=Kind.NOT_FOUND, reason="RENDER_NOT_FOUND")
OUTPUT = render_pb2.RenderOutput(
    video_url="/v1/renders/rnd_1/video",
    media_type="video/mp4",
    size_bytes=1_500_000,
    sha256="ab" * 32,
    width=832,
    height=480,
    num_frames=81,
    fps=16,
    duration_seconds=5.06,
)


# The list


async def listed(browser: Browser, platform: Platform, *renders: render_pb2.Render, path: str = "/renders") -> str:
    platform.answers["ListRenders"] = render_service_pb2.ListRendersResponse(renders=renders, next_page_token="next")
    return (await browser.open(path, scopes="read")).text


async def test_the_list_is_for_those_who_are_signed_in(browser: Browser) -> None:
    answer = await browser.open("/renders?status=failed")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Frenders%3Fstatus%3Dfailed"


async def test_the_list_asks_for_what_was_chosen_and_for_the_page(browser: Browser, platform: Platform) -> None:
    await listed(browser, platform, path="/renders?status=failed&model=toy&page_token=abc")

    (request,) = [asked for asked in platform.asked if isinstance(asked, render_service_pb2.ListRendersRequest)]
    assert (request.status, request.model, request.page_token) == ("failed", "toy", "abc")


async def test_a_row_says_how_far_a_render_is_and_where_it_runs(browser: Browser, platform: Platform) -> None:
    page = read(await listed(browser, platform, a_render(actual_cost_usd=0.0123)))

    assert "step 12 of 40" in page.text
    assert "H200 in eu-north2" in page.text
    assert "$0.0123" in page.text
    assert "/renders/rnd_1" in page.links


async def test_only_a_list_with_something_under_way_looks_again(browser: Browser, platform: Platform) -> None:
    assert "data-under-way" in await listed(browser, platform, a_render("succeeded", output=OUTPUT), a_render())
    assert "data-under-way" not in await listed(browser, platform, a_render("paused"), a_render("failed"))


async def test_a_finished_render_shows_its_thumbnail_others_their_preview(browser: Browser, platform: Platform) -> None:
    html = await listed(
        browser, platform, a_render("succeeded", output=OUTPUT, preview_url="/p/9"), a_render(preview_url="/p/1")
    )

    assert 'src="/v1/renders/rnd_1/thumbnail"' in html
    assert 'data-instead="/p/9"' in html
    assert 'src="/p/1"' in html


async def test_the_next_page_keeps_what_was_chosen(browser: Browser, platform: Platform) -> None:
    page = read(await listed(browser, platform, a_render(), path="/renders?status=running"))

    (older,) = [link for link in page.links if "page_token" in link]
    assert "status=running" in older
    assert "page_token=next" in older


async def test_an_empty_list_says_what_to_do(browser: Browser, platform: Platform) -> None:
    assert "Nothing was rendered yet" in await listed(browser, platform)
    assert "No render fits" in await listed(browser, platform, path="/renders?status=failed")


async def test_the_list_does_without_the_catalogue(browser: Browser, platform: Platform) -> None:
    platform.answers["ListRenders"] = render_service_pb2.ListRendersResponse(renders=[a_render()])
    answer = await browser.open("/renders", scopes="read", away=("catalog",))

    assert answer.status_code == 200


# One


async def test_another_account_s_render_is_no_page(browser: Browser, platform: Platform) -> None:
    platform.answers["GetRender"] = ForgeError("there is no render 'rnd_1'", kind=Kind.NOT_FOUND, reason="R")
    answer = await browser.open("/renders/rnd_1", scopes="read")

    assert answer.status_code == 404
    assert "there is no render" in answer.text


async def test_the_page_says_how_it_stands_and_why(browser: Browser, platform: Platform) -> None:
    progress = render_pb2.Progress(
        done_steps=12, total_steps=40, fraction=0.31, eta_seconds_p50=48, eta_seconds_p90=150
    )
    platform.answers["GetRender"] = a_render(
        progress=progress, explanation="a warm runtime was idle there", warnings=["the image was resized"]
    )
    page = read((await browser.open("/renders/rnd_1", scopes="read")).text)

    assert "step 12 of 40 · 0.8–2.5 min left" in page.text
    assert "31 % of the work" in page.text
    assert "A warm runtime was idle there." in page.text
    assert "The image was resized." in page.text


async def test_scripts_go_on_after_what_the_page_shows(browser: Browser) -> None:
    html = (await browser.open("/renders/rnd_1", scopes="read")).text

    assert f'data-seq="{len(LOG)}"' in html
    assert 'data-status="running"' in html


async def test_a_failed_render_says_why_and_what_helps(browser: Browser, platform: Platform) -> None:
    error = render_pb2.RenderError(reason="OUT_OF_MEMORY", message="the device has too little memory", retry=False)
    platform.answers["GetRender"] = a_render("failed", error=error)
    page = read((await browser.open("/renders/rnd_1", scopes="read")).text)

    assert "Out of memory. The device has too little memory." in page.text
    assert "Ask for fewer frames" in page.text


@pytest.mark.parametrize(
    ("status", "doings"),
    [
        ("queued", ["cancel"]),
        ("running", ["cancel"]),
        ("paused", ["continue", "continue", "cancel", "branch"]),
        ("canceling", []),
        ("succeeded", ["delete"]),
        ("failed", ["retry", "delete"]),
        ("canceled", ["retry", "delete"]),
        ("expired", ["retry", "delete"]),
    ],
)
async def test_what_can_be_done_depends_on_the_status(
    status: str, doings: list[str], browser: Browser, platform: Platform
) -> None:
    platform.answers["GetRender"] = a_render(status)
    html = (await browser.open("/renders/rnd_1", scopes="read,inference")).text

    assert re.findall(r'data-do="([a-z]+)"', html) == doings


async def test_a_key_that_only_reads_can_do_nothing(browser: Browser, platform: Platform) -> None:
    platform.answers["GetRender"] = a_render("paused")

    assert "data-do=" not in (await browser.open("/renders/rnd_1", scopes="read")).text


async def test_previews_can_be_looked_at_with_their_steps(browser: Browser, platform: Platform) -> None:
    platform.answers["GetRender"] = a_render(preview_url="/p/3")
    html = (await browser.open("/renders/rnd_1", scopes="read")).text

    assert re.findall(r'<a href="(/p/\d)" data-frame>', html) == ["/p/1", "/p/2", "/p/3"]
    assert 'src="/p/3" alt="Newest preview: step 12 of 40"' in html
    assert "<video" not in html


async def test_what_can_be_played_is_played_while_the_rest_is_made(browser: Browser, platform: Platform) -> None:
    platform.answers["GetRender"] = a_render(progress=render_pb2.Progress(fraction=0.8, playable_seconds=1.5))
    html = (await browser.open("/renders/rnd_1", scopes="read")).text

    assert re.search(r'<video controls muted[^>]* src="/v1/renders/rnd_1/video"', html)
    assert "1.5 s can be played" in html


async def test_a_finished_video_can_be_played_downloaded_and_checked(browser: Browser, platform: Platform) -> None:
    platform.answers["GetRender"] = a_render("succeeded", output=OUTPUT)
    html = (await browser.open("/renders/rnd_1", scopes="read")).text
    page = read(html)

    assert re.search(
        r'<video controls muted[^>]* poster="/v1/renders/rnd_1/thumbnail" src="/v1/renders/rnd_1/video', html
    )
    assert "/v1/renders/rnd_1/video?download=1" in page.links
    assert "832 × 480" in page.text
    assert "81 at 16 fps" in page.text
    assert "1.5 MB" in page.text
    assert "ab" * 32 in page.text


async def test_attempts_and_their_phases_are_a_chart_a_table_and_a_tree(browser: Browser, platform: Platform) -> None:
    platform.answers["GetRender"] = a_render(
        attempt=2,
        attempts=[
            an_attempt("lost", ended_at=15, message="the worker was lost"),
            an_attempt("running", 2, started_at=16, resumed_steps=8),
        ],
        trace_id="0af7651916cd43dd",
    )
    html = (await browser.open("/renders/rnd_1", scopes="read")).text
    page = read(html)

    assert html.count('<svg class="lane"') == 2
    assert "cold start" in page.text
    assert "the worker was lost" in page.text
    assert "from step 8 of a checkpoint" in page.text
    assert "0af7651916cd43dd" in page.text


async def test_the_trace_shows_the_spans_that_were_told_of(browser: Browser, platform: Platform) -> None:
    began = timestamp(datetime(2026, 11, 20, 12, tzinfo=UTC))
    spans = [
        render_trace_pb2.TraceSpan(
            span_id="a",
            service="scheduler",
            name="attempt",
            started_at=began,
            status="error",
            attributes={"forge.outcome": "lost"},
        ),
        render_trace_pb2.TraceSpan(
            span_id="b",
            parent_span_id="a",
            service="inference-worker",
            name="decoding",
            started_at=began,
            duration_ms=250,
        ),
    ]
    platform.answers["GetRenderTrace"] = render_trace_pb2.RenderTrace(spans=spans, note="some may be missing")
    html = (await browser.open("/renders/rnd_1", scopes="read")).text
    page = read(html)

    assert all(words in page.text for words in ("inference-worker", "lost", "0.25 s", "so far", "Some may be missing."))
    assert "phase-decoding" in html


async def test_long_runs_of_steps_are_folded(browser: Browser) -> None:
    page = read((await browser.open("/renders/rnd_1", scopes="read")).text)

    assert "11 events: step 1 of 40 … step 11 of 40" in page.text
    assert "accepted" in page.text


async def test_the_page_does_without_the_log_and_the_receipt(browser: Browser, platform: WatchedPlatform) -> None:
    platform.log = []
    answer = await browser.open("/renders/rnd_1", scopes="read", away=("billing_estimate",))

    assert answer.status_code == 200
    assert "The log cannot be read now." in answer.text
    assert "The receipt cannot be shown now" in answer.text


async def test_before_the_first_attempt_ended_there_is_no_receipt(browser: Browser) -> None:
    assert "There is no receipt yet" in (await browser.open("/renders/rnd_1", scopes="read")).text


async def test_a_receipt_shows_each_amount_to_the_millionth_beside_its_estimate(
    browser: Browser, platform: Platform
) -> None:
    line = receipt_pb2.ReceiptLine(
        attempt=1, gpu_type="H200", region="eu-north2", outcome="succeeded", cost_per_gpu_hour_usd=4.5
    )
    lines = [receipt_pb2.ReceiptLine(), receipt_pb2.ReceiptLine()]
    for made, (phase, held, cost) in zip(lines, [("starting", 8.0, 0.01), ("denoising", 1.5, 0.001875)], strict=True):
        made.CopyFrom(line)
        made.phase, made.gpu_seconds, made.cost_usd = phase, held, cost
    platform.answers["GetRender"] = a_render("succeeded", output=OUTPUT)
    platform.answers["GetReceipt"] = receipt_pb2.Receipt(
        render_id="rnd_1",
        is_final=True,
        gpu_seconds=9.5,
        cost_usd=0.011875,
        lines=lines,
        estimated_gpu_seconds=10,
        estimated_gpu_seconds_p90=12,
        estimated_cost_usd=0.0125,
        estimate_error=-0.05,
    )
    page = read((await browser.open("/renders/rnd_1", scopes="read")).text)

    assert "cold start 8.000000 s $4.50 $0.010000" in page.text
    assert "denoise 1.500000 s $4.50 $0.001875" in page.text
    assert "Total 9.500000 s $0.011875" in page.text
    assert "Estimate 10.0 s $0.012500" in page.text
    assert "−5 % off" in page.text


@pytest.mark.parametrize("status", ["queued", "running", "paused", "canceling", "succeeded", "failed", "expired"])
async def test_no_page_has_faults(status: str, browser: Browser, platform: Platform) -> None:
    render = a_render(status, output=OUTPUT if status == "succeeded" else None, preview_url="/p/3", trace_id="0af")
    platform.answers["GetRender"] = render
    html = (await browser.open("/renders/rnd_1", scopes="read,inference")).text

    assert faults(html) == []
    assert faults(await listed(browser, platform, render)) == []


async def test_what_people_wrote_is_text(browser: Browser, platform: Platform) -> None:
    platform.answers["GetRender"] = a_render(warnings=["<script>alert(1)</script>"], explanation="<b>why</b>")
    html = (await browser.open("/renders/rnd_1", scopes="read")).text

    assert "<script>alert" not in html
    assert "<b>why" not in html
