"""The performance table as a page shows it."""

from services.web.domain.performance import readiness_of, table_of


def a_row(gpu_type: str, region: str = "r", status: str = "supported"):
    return {"gpu_type": gpu_type, "region": region, "status": status}


FAST, CHEAP, OTHER = a_row("H200"), a_row("L40S"), a_row("H100", status="pending")
TARGETS = {
    "targets": [OTHER, FAST, CHEAP],
    "fastest_supported_target": FAST,
    "lowest_cost_supported_target": CHEAP,
}


def test_only_the_best_verified_rows_have_chips():
    assert [line.chips for line in table_of(TARGETS, "", "")] == [(), ("fastest",), ("cheapest",)]


def test_one_row_can_be_best_at_everything():
    only = {"targets": [FAST], "fastest_supported_target": FAST, "lowest_cost_supported_target": FAST}
    assert table_of(only, "", "")[0].chips == ("fastest", "cheapest")


def test_without_a_verified_row_there_are_no_chips():
    assert [line.chips for line in table_of({"targets": [OTHER]}, "", "")] == [()]


def test_a_row_is_selected_when_it_fits_what_was_pinned():
    def selected(gpu_type: str, region: str) -> list[str]:
        return [line.key for line in table_of(TARGETS, gpu_type, region) if line.is_selected]

    assert selected("", "") == []
    assert selected("L40S", "") == ["L40S@r"]
    assert selected("L40S", "elsewhere") == []
    assert selected("", "r") == ["H100@r", "H200@r", "L40S@r"]


def test_readiness_counts_every_row_once():
    rows = [FAST, CHEAP, OTHER, a_row("B200", status="stale"), a_row("B300", status="pending")]
    found = readiness_of(rows)
    assert (found.supported, found.total) == (2, 5)
    assert found.others == (("pending", 2), ("stale", 1))
    assert found.supported + sum(number for _, number in found.others) == found.total
