"""What the dashboard and the rules ask for is there."""

import json
import re

from tests.deployment import DASHBOARD, names_asked_for, names_in_the_code, names_recorded, rules

_PERSONAL = re.compile(r"account|render_id|key_id|prompt|path")


def test_every_metric_that_is_asked_for_is_exported_or_recorded():
    ours = {name for name in names_asked_for() if name.startswith("forge")}
    assert len(ours) > 20
    assert ours - names_in_the_code() - names_recorded() == set()


def test_every_recorded_series_is_asked_for_by_its_name_of_three_parts():
    assert all(name.count(":") == 2 for name in names_recorded())


def test_every_alert_says_what_happened_and_what_to_do():
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 10
    for alert in alerts:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert len(alert["annotations"]["summary"]) > 20
        assert len(alert["annotations"]["runbook"]) > 60


def test_the_dashboard_is_whole_and_its_panels_do_not_lie_on_each_other():
    board = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or panel["targets"]


def test_no_label_of_a_metric_names_a_person_or_a_render():
    assert not [name for name in names_in_the_code() if _PERSONAL.search(name)]
