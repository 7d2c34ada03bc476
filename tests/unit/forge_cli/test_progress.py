"""Rules of how a recorded list of events shows on the terminal."""

import io

import pytest
from rich.console import Console

from forge_cli.progress import BarView, LineView, detail_of, live_bar, phase_of, progress_view


def recorded(story, *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140, color_system=None, legacy_windows=False)
    with progress_view("toy", console) as view:
        for event in story:
            view.show(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_appear_at_each_phase_and_about_every_tenth(story):
    lines = recorded(story, terminal=False).splitlines()
    assert [line.split()[3] for line in lines] == [
        "queued", "starting", "encoding", *["denoising"] * 9, "decoding", "done",
    ]  # fmt: skip
    assert lines[-1].strip() == "29.0 s  toy  done  100%"
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_a_bar_that_is_gone_when_the_block_ends(story):
    shown = recorded(story, terminal=True)
    assert "\x1b[?25l" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_the_bar_shows_phase_step_share_and_times(story):
    console = Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    progress = live_bar(console)
    clock = [100.0]
    view = BarView("toy", progress, monotonic=lambda: clock[0])
    for event in story[:18]:
        view.show(event)
    clock[0] += 2.0
    with console.capture() as captured:
        console.print(progress.get_renderable())
    assert "toy  denoising" in captured.get()
    assert "50%" in captured.get()
    assert "step 15 of 25" in captured.get()
    assert "0:19  ETA 0:13" in captured.get()


def test_a_line_tells_when_the_first_frames_can_be_played_and_later_ones_how_much(event):
    lines = recorded(
        [
            event(1, "denoising", fraction=0.41),
            event(2, "denoising", fraction=0.42, playable_seconds=17 / 24),
            event(3, "denoising", fraction=0.43, playable_seconds=17 / 24),
            event(4, "denoising", fraction=0.51, playable_seconds=37 / 24),
            event(5, "done", status="succeeded", fraction=1.0, playable_seconds=97 / 24),
        ],
        terminal=False,
    ).splitlines()
    assert [line.partition("%  ")[2] for line in lines] == ["", "0.71 s can be played", "1.54 s can be played", ""]


def test_the_bar_tells_how_much_can_be_played(event):
    console = Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    progress = live_bar(console)
    BarView("toy", progress, monotonic=lambda: 0.0).show(
        event(1, "denoising", done_steps=3, total_steps=8, playable_seconds=1.5)
    )
    with console.capture() as captured:
        console.print(progress.get_renderable())
    assert "step 3 of 8  1.50 s can be played" in captured.get()


@pytest.mark.parametrize(
    ("status", "phase"), [("canceled", "canceled"), ("failed", "failed"), ("running", "denoising")]
)
def test_the_end_shows_instead_of_the_phase_it_came_in(event, status, phase):
    assert phase_of(event(1, "denoising", status=status)) == phase


def test_a_place_in_the_queue_is_only_told_when_there_is_one(event):
    assert detail_of(event(1, "queued", status="queued", message="waits for a slot")) == "waits for a slot"
    assert detail_of(event(1, "denoising")) == ""


def shown_by_the_bar(*events, **given) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    progress = live_bar(console)
    view = BarView("toy", progress, monotonic=lambda: 0.0)
    for event in events:
        view.show(event, **given)
    with console.capture() as captured:
        console.print(progress.get_renderable())
    return captured.get()


def test_a_place_in_the_queue_comes_with_how_long_it_takes_usually_and_at_most(event):
    waits = event(1, "queued", status="queued", queue_position=3, eta_seconds_p50=40.0, eta_seconds_p90=125.0)
    (line,) = recorded([waits], terminal=False).splitlines()
    assert line.endswith("queued  place 3 in the queue  ETA 40.0 s to 2 min 05 s")
    assert "place 3 in the queue" in shown_by_the_bar(waits)
    assert "ETA 0:40–2:05" in shown_by_the_bar(waits)


def test_a_queue_that_moves_is_told_more_often_the_nearer_the_end(event):
    queue = [event(101 - place, "queued", status="queued", queue_position=place) for place in range(100, 0, -1)]
    told = [line.partition("place ")[2].split()[0] for line in recorded(queue, terminal=False).splitlines()]
    assert told == ["100", "63", "31", "15", "7", "3", "1"]


def test_a_later_attempt_is_numbered_and_says_what_it_was_spared(event):
    first = event(1, "denoising", attempt=1, done_steps=9, total_steps=25)
    second = event(2, "denoising", attempt=2, done_steps=9, total_steps=25)
    assert "attempt" not in shown_by_the_bar(first, resumed_steps=8)
    assert "attempt 2, resumed after step 8" in shown_by_the_bar(second, resumed_steps=8)
    assert "attempt 2" in shown_by_the_bar(second)
    assert "resumed" not in shown_by_the_bar(second)
    lines = recorded([first, second], terminal=False).splitlines()
    assert [line.endswith("attempt 2") for line in lines] == [False, True]


def test_a_pause_shows_after_which_step_and_no_time_is_left(event):
    paused = event(1, "denoising", status="paused", done_steps=8, total_steps=25, fraction=0.3, eta_seconds_p50=20.0)
    (line,) = recorded([paused], terminal=False).splitlines()
    assert line.split("  ")[-3:] == ["paused", "after step 8 of 25", "30%"]


def test_a_replay_after_a_break_prints_nothing_twice(story):
    console = Console(file=io.StringIO(), width=140)
    view = LineView("toy", console)
    for event in (story[2], story[2], story[3]):
        view.show(event)
    assert isinstance(console.file, io.StringIO)
    assert len(console.file.getvalue().splitlines()) == 2
