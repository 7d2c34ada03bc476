"""The account's page."""

import re
from typing import Any

import pytest
from forge.accounts.v1 import account_service_pb2, api_key_pb2
from forge.billing.v1 import billing_estimate_service_pb2, estimate_pb2, receipt_pb2

from services.chassis.errors import InvalidInput, Violation
from tests.unit.web.conftest import Browser
from tests.unit.web.fake_platform import Platform
from tests.unit.web.markup import faults, read


def a_key(**given: Any) -> api_key_pb2.ApiKey:
    facts: dict[str, Any] = {"id": "key_1", "name": "laptop", "prefix": "forge_local_ab12", "scopes": ["admin"]}
    key = api_key_pb2.ApiKey(**(facts | {name: value for name, value in given.items() if not name.endswith("_at")}))
    key.created_at.FromJsonString("2026-11-01T10:00:00Z")
    for name, value in given.items():
        if name.endswith("_at"):
            getattr(key, name).FromJsonString(value)
    return key


def a_row(day: str, slug: str = "toy", key: str = "key_1", **given: Any) -> receipt_pb2.UsageRow:
    facts: dict[str, Any] = {"renders": 1, "attempts": 1, "gpu_seconds": 10.5, "cost_usd": 0.1}
    return receipt_pb2.UsageRow(day=day, slug=slug, model_version="v1", api_key_id=key, **(facts | given))


@pytest.fixture
def platform() -> Platform:
    rows = [
        a_row("2026-11-03", cost_usd=0.1, gpu_seconds=1.1),
        a_row("2026-11-03", "other", "key_2", cost_usd=0.2, gpu_seconds=2.2, attempts=2),
        a_row("2026-11-01", cost_usd=0.000001, gpu_seconds=0.000001),
    ]
    return Platform(
        answers={
            "GetAccount": api_key_pb2.Account(account="studio", api_key_id="key_1", scopes=["admin"]),
            "ListApiKeys": account_service_pb2.ListApiKeysResponse(
                api_keys=[
                    a_key(),
                    a_key(id="key_2", name="old <b>server</b>", scopes=["read"], revoked_at="2026-11-02T00:00:00Z"),
                ]
            ),
            "GetUsage": billing_estimate_service_pb2.Usage(
                since="2026-11-01", until="2026-11-04", rows=rows, gpu_seconds=3.300001, cost_usd=0.300001, renders=3
            ),
            "ListCalibrations": billing_estimate_service_pb2.ListCalibrationsResponse(
                overall=estimate_pb2.Calibration(sample_count=7, median_absolute_error=0.03, share_within_p90=0.9)
            ),
        }
    )


async def test_a_visitor_is_sent_to_sign_in_and_back(browser: Browser) -> None:
    answer = await browser.open("/account?since=2026-11-01")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Faccount%3Fsince%3D2026-11-01"


async def test_the_page_says_who_is_signed_in(browser: Browser) -> None:
    page = read((await browser.open("/account", scopes="admin")).text)

    assert "Account studio" in page.text
    assert "key_1" in page.text


async def test_keys_are_listed_and_those_that_work_no_more_stand_apart(browser: Browser) -> None:
    answer = await browser.open("/account", scopes="admin")
    page = read(answer.text)

    assert "1 key that works" in page.text
    assert "1 key that works no more" in page.text
    assert "old <b>server</b>" in page.text  # as text
    assert 'data-revoke="key_1"' in answer.text
    assert 'data-revoke="key_2"' not in answer.text


async def test_a_key_that_was_rotated_names_its_successor_and_cannot_be_rotated_again(
    browser: Browser, platform: Platform
) -> None:
    keys = [a_key(id="key_2", prefix="forge_local_cd34", replaces="key_1"), a_key(replaced_by="key_2")]
    platform.answers["ListApiKeys"] = account_service_pb2.ListApiKeysResponse(api_keys=keys)

    answer = await browser.open("/account", scopes="admin")

    assert "replaced by forge_local_cd34…" in read(answer.text).text
    assert 'data-rotate="key_2"' in answer.text
    assert 'data-rotate="key_1"' not in answer.text
    assert 'data-revoke="key_1"' in answer.text
    assert faults(answer.text) == []


async def test_a_key_without_admin_sees_no_keys_but_is_told_why(browser: Browser, platform: Platform) -> None:
    answer = await browser.open("/account", scopes="read,inference")

    assert "without the scope admin" in read(answer.text).text
    assert "laptop" not in answer.text
    assert 'id="make-key"' not in answer.text
    assert not any(isinstance(asked, account_service_pb2.ListApiKeysRequest) for asked in platform.asked)


async def test_the_page_of_an_account_is_kept_by_nobody(browser: Browser) -> None:
    assert (await browser.open("/account", scopes="admin")).headers["cache-control"] == "no-store"


async def test_sums_equal_the_sum_of_what_is_shown_to_the_millionth(browser: Browser) -> None:
    text = (await browser.open("/account", scopes="admin")).text
    rows = re.search(r'id="rows-caption".*?<tbody>(.*?)</tbody>.*?<tfoot>(.*?)</tfoot>', text, re.DOTALL)
    assert rows is not None

    def micros(html: str) -> list[int]:
        return [int(whole + part) for whole, part in re.findall(r"\$(\d+)\.(\d{6})", html)]

    assert sum(micros(rows[1])) == micros(rows[2])[0] == 300_001
    for caption in ("by-model", "by-key"):
        found = re.search(rf'caption id="{caption}".*?<tbody>(.*?)</tbody>', text, re.DOTALL)
        assert found is not None
        assert sum(micros(found[1])) == 300_001


async def test_use_is_shown_by_the_names_of_keys(browser: Browser) -> None:
    found = re.search(
        r'caption id="by-key".*?<tbody>(.*?)</tbody>', (await browser.open("/account", scopes="admin")).text, re.DOTALL
    )

    assert found is not None
    assert "laptop" in found[1]


async def test_days_that_are_none_are_said_so_at_their_field(browser: Browser, platform: Platform) -> None:
    platform.answers["GetUsage"] = InvalidInput([Violation("until", "must be a day as in 2026-11-20")])

    answer = await browser.open("/account?until=soon", scopes="read")

    assert answer.status_code == 200
    assert 'id="until-wrong">must be a day as in 2026-11-20<' in answer.text
    assert 'value="soon" aria-invalid="true" aria-describedby="until-wrong"' in answer.text


async def test_the_days_asked_for_are_those_of_the_address(browser: Browser, platform: Platform) -> None:
    await browser.open("/account?since=2026-11-01&until=2026-11-04", scopes="read")

    assert billing_estimate_service_pb2.GetUsageRequest(since="2026-11-01", until="2026-11-04") in platform.asked


async def test_an_account_without_use_has_no_charts(browser: Browser, platform: Platform) -> None:
    platform.answers["GetUsage"] = billing_estimate_service_pb2.Usage(since="2026-11-01", until="2026-11-04")

    answer = await browser.open("/account", scopes="read")

    assert "Nothing was rendered in these days" in answer.text
    assert "<figure" not in answer.text


@pytest.mark.parametrize(
    ("away", "lost", "kept"),
    [
        ("accounts", "The keys cannot be listed now", "Cost per day"),
        ("billing_estimate", "What was used cannot be shown now", "1 key that works"),
    ],
)
async def test_a_service_that_does_not_answer_costs_only_its_section(
    browser: Browser, away: str, lost: str, kept: str
) -> None:
    answer = await browser.open("/account", scopes="admin", away=[away])
    page = read(answer.text)

    assert answer.status_code == 200
    assert lost in page.text
    assert kept in page.text
    assert faults(answer.text) == []


@pytest.mark.parametrize("scopes", ["admin", "read"])
async def test_the_page_is_well_made(browser: Browser, scopes: str) -> None:
    assert faults((await browser.open("/account", scopes=scopes)).text) == []
