"""The Python client: errors, what is tried again, and events without gaps."""

import grpc
import pytest
from forge.scheduler.v1.render_pb2 import RenderEvent
from forge_client import Forge, ForgeError, Violation
from forge_client.connection import Address, reading_methods

from services.chassis.errors import ForgeError as Refusal
from services.chassis.errors import InvalidInput, Kind
from services.chassis.errors import Violation as Wrong
from services.web.adapters.contract_files import contract_files
from tests.unit.clients import fake_renders as fakes
from tests.unit.clients.fake_renders import AWAY, FakeRenders

GETS = pytest.mark.parametrize("get", [fakes.get_waiting, fakes.get_async])
CREATES = pytest.mark.parametrize("create", [fakes.create_waiting, fakes.create_async])
WATCHES = pytest.mark.parametrize("watch", [fakes.watch_waiting, fakes.watch_async])


def events(*numbers, **more):
    return [RenderEvent(seq=number, **more) for number in numbers]


@GETS
async def test_a_call_has_its_key_and_its_answer(get):
    service = FakeRenders()
    async with service.serving() as address:
        assert (await get(address)).status == "succeeded"
    assert service.keys == ["Bearer a key"]


@CREATES
async def test_a_refusal_has_its_reason_and_everything_that_is_wrong(create):
    service = FakeRenders([InvalidInput([Wrong("width", "must be even"), Wrong("fps", "is required")])])
    async with service.serving() as address:
        with pytest.raises(ForgeError) as refused:
            await create(address)
    error = refused.value
    assert (error.code(), error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert error.violations == (Violation("width", "must be even"), Violation("fps", "is required"))
    assert error.retry_after_seconds is None
    assert "width: must be even" in str(error)


@CREATES
async def test_a_refusal_says_when_to_try_again_and_its_facts(create):
    quota = Refusal(
        "no", kind=Kind.EXHAUSTED, reason="QUOTA_EXCEEDED", metadata={"quota": "q"}, retry_after_seconds=3.5
    )
    async with FakeRenders([quota]).serving() as address:
        with pytest.raises(ForgeError) as refused:
            await create(address)
    assert refused.value.retry_after_seconds == 3.5
    assert refused.value.facts["quota"] == "q"


@GETS
async def test_a_read_is_tried_again_while_the_platform_restarts(get):
    service = FakeRenders([AWAY, AWAY])
    async with service.serving() as address:
        assert (await get(address)).id == "rnd_1"
    assert len(service.asked) == 3


@CREATES
async def test_a_call_that_changes_something_is_not_tried_again(create):
    service = FakeRenders([AWAY])
    async with service.serving() as address:
        with pytest.raises(ForgeError) as refused:
            await create(address)
    assert refused.value.reason == "SERVICE_UNAVAILABLE"
    assert refused.value.retry_after_seconds == 2.0
    assert len(service.asked) == 1


@CREATES
async def test_where_nobody_answers_there_is_a_code_and_no_reason(create):
    with pytest.raises(ForgeError) as refused:
        await create("http://127.0.0.1:9")
    assert (refused.value.code(), refused.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")


@WATCHES
async def test_a_watch_that_breaks_goes_on_where_it_was(watch):
    service = FakeRenders(events=events(1, 2, 3, 4), breaks_after=[2, 3])
    async with service.serving() as address:
        assert await watch(address) == [1, 2, 3, 4]
    assert [request.after_seq for _, request in service.asked] == [0, 2, 3]


@WATCHES
async def test_a_watch_begins_after_the_event_that_is_named_and_leaves_signs_of_life_out(watch):
    alive = RenderEvent(seq=2, keep_alive=True)
    async with FakeRenders(events=[*events(1, 2), alive, *events(3)]).serving() as address:
        assert await watch(address, after_seq=1) == [2, 3]


@WATCHES
async def test_a_watch_gives_up_when_its_patience_is_over(watch):
    async with FakeRenders(events=events(1), breaks_after=[1] * 9).serving() as address:
        with pytest.raises(ForgeError, match="SERVICE_UNAVAILABLE"):
            await watch(address, patience_seconds=-1)


def test_only_what_rest_has_under_get_is_tried_again():
    public = [method for service in contract_files().services for method in service.methods]
    gets = {method.full_name for method in public if method.routes[0].method == "GET"}
    assert {f"{found['service']}.{found['method']}" for found in reading_methods()} == gets


def test_the_client_has_every_service_that_keys_may_call():
    with Forge("http://127.0.0.1:9", "") as forge:
        stubs = [stub for stub in vars(forge).values() if type(stub).__name__.endswith("Stub")]
    assert {type(stub).__name__.removesuffix("Stub") for stub in stubs} == {
        service.proto.name for service in contract_files().services
    }


@pytest.mark.parametrize(
    ("base", "target", "is_secure"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("127.0.0.1:8080", "127.0.0.1:8080", False),
        ("http://forge.example", "forge.example:80", False),
        ("https://forge.example", "forge.example:443", True),
        ("https://forge.example:8443/", "forge.example:8443", True),
        ("http://[::1]:8080", "[::1]:8080", False),
    ],
)
def test_an_address_is_written_as_people_write_it(base, target, is_secure):
    assert (Address(base).target, Address(base).is_secure) == (target, is_secure)


@pytest.mark.parametrize("base", ["", "ftp://forge.example", "http://"])
def test_what_is_no_address_is_refused_at_once(base):
    with pytest.raises(ValueError, match="is no address of a platform"):
        Forge(base, "")
