"""Rules of forge trace."""

import json

from forge_cli.commands.trace import bar, rows_of
from tests.unit.forge_cli.builders import make_trace


def test_the_tree_has_each_span_below_what_it_is_a_part_of_and_the_gaps_between():
    rows = [(row.depth, row.name, row.began, row.seconds) for row in rows_of(make_trace())]
    assert rows == [
        (0, "render", 0, 10),
        (1, "queue", 0, 1),
        (1, "attempt", 1, 3),
        (1, "(gap)", 4, 2),
        (1, "attempt", 6, 4),
        (2, "denoising", 6, 4),
    ]


def test_bars_lie_where_their_time_lies():
    bars = [bar(row, 10.0) for row in rows_of(make_trace())]
    assert len({len(drawn) for drawn in (bars[0], bars[4], bars[5])}) == 1
    assert bars[1].startswith("█")
    assert bars[3].strip() == "·" * len(bars[3].strip())
    assert bars[4].index("█") == len(bars[3])


def test_a_trace_is_drawn_with_how_attempts_ended(run):
    drawn = run("trace", "rnd_1").stdout
    assert "outcome lost, reason WORKER_LOST" in drawn
    assert "done steps 25, total steps 25, 1 × checkpoint" in drawn
    assert "10.0 s…" in drawn


def test_a_trace_is_json_as_the_api_has_it(run):
    assert len(json.loads(run("trace", "rnd_1", "--json").stdout)["spans"]) == 5
