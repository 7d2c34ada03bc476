"""Malformed requests of every kind against the whole platform; `make fuzz` sends ten thousand."""

import pytest

from tests.malformed.cases import case, kept_cases, values_of
from tests.malformed.trial import attacked

GROWTH_MIB = 64.0


@pytest.mark.slow
@pytest.mark.cut_short
def test_no_malformed_request_hurts_the_platform(platform, request):
    requests = 10_000 if request.config.getoption("--full-size") else 400
    cases = [*kept_cases(), *(case("make test", number) for number in range(requests))]
    found = attacked(platform, cases, warm_up=(case("warm-up", number) for number in range(200)))
    assert [(answer, values_of(wrong)) for wrong, answer in found.wrong] == []
    assert found.logged == []
    assert found.restarted == []
    assert found.is_well
    assert {name: growth for name, growth in found.growth_mib.items() if growth > GROWTH_MIB} == {}
    assert {name.partition(" ")[0] for name in found.answers} == {"http1", "http2", "json", "grpc"}
