"""Where Prometheus finds everything."""

import json

from forge_cli.metrics_targets import metrics_environment, write_targets

PAGES = {"catalog": 15_001, "edge": 15_002}


def test_every_process_is_a_target_and_the_edge_has_a_path_of_its_own(tmp_path):
    catalog, edge = json.loads(write_targets(tmp_path, PAGES).read_text())
    assert (catalog["targets"], catalog["labels"]["service"]) == (["127.0.0.1:15001"], "catalog")
    assert edge["labels"]["__metrics_path__"] == "/stats/prometheus"
    assert "__metrics_path__" not in catalog["labels"]


def test_services_are_told_where_to_show_their_figures():
    assert json.loads(metrics_environment("catalog", 15_001)["FORGE_METRICS_ADDRESSES"]) == {
        "catalog": "127.0.0.1:15001"
    }
