"""Rules of the demo's way over REST, against canned answers."""

import hashlib
import json

import httpx
import pytest
from google.protobuf import json_format

from forge_cli.commands.demo import result_table
from forge_cli.failures import CommandFailed
from forge_cli.rest import RestClient
from forge_cli.settings import Settings
from forge_cli.statuses import RequestFailed

VIDEO = b"frames" * 5000


def line_of(event) -> bytes:
    return json.dumps(json_format.MessageToDict(event, preserving_proto_field_name=True)).encode() + b"\n"


class Edge:
    """Answers as the edge would; streams end after the events in `stops`, one stream each."""

    def __init__(self, story) -> None:
        self.story = story
        self.stops: list[int] = []
        self.asked_after: list[int] = []
        self.keys: set[str | None] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.keys.add(request.headers.get("authorization"))
        match request.url.path:
            case "/v1/renders/rnd_1/events":
                after = int(request.url.params["after_seq"])
                self.asked_after.append(after)
                stop = self.stops.pop(0) if self.stops else len(self.story)
                return httpx.Response(200, content=b"".join(line_of(event) for event in self.story[after:stop]))
            case "/v1/renders/rnd_1/video":
                return httpx.Response(200, content=VIDEO)
            case "/v1/models/toy/input-schema":
                return httpx.Response(200, json={"schema": {}, "example": {"model": "toy", "num_frames": 25}})
            case "/v1/renders":
                assert json.loads(request.content) == {"model": "toy", "num_frames": 25}
                return httpx.Response(200, json={"id": "rnd_1", "status": "queued", "a_later_field": 1})
            case _:
                return httpx.Response(404, json={"code": 5, "message": "no such render", "details": []})


@pytest.fixture
def edge(story):
    return Edge(story)


@pytest.fixture
def api(edge):
    with RestClient(Settings("http://127.0.0.1:1", "key"), transport=httpx.MockTransport(edge)) as client:
        yield client


def test_an_example_body_is_sent_as_it_stands_and_with_the_key(api, edge):
    assert api.create_render(api.example_body("toy")).id == "rnd_1"
    assert edge.keys == {"Bearer key"}


def test_a_stream_that_ends_early_is_taken_up_and_every_event_comes_once(api, edge, story, monkeypatch):
    monkeypatch.setattr("forge_cli.rest._PAUSE_SECONDS", 0.0)
    edge.stops = [3, 3, 10]
    assert [event.seq for event in api.events("rnd_1")] == [event.seq for event in story]
    assert edge.asked_after == [0, 3, 3, 10]


def test_an_unknown_render_is_an_error_and_not_a_reason_to_wait(api):
    with pytest.raises(RequestFailed, match="no such render"):
        list(api.events("rnd_2"))


def test_a_video_is_saved_whole_or_not_at_all(api, render, tmp_path):
    good = render(output={"sha256": hashlib.sha256(VIDEO).hexdigest()})
    api.save_video(good, tmp_path / "out" / "good.mp4")
    assert (tmp_path / "out" / "good.mp4").read_bytes() == VIDEO
    with pytest.raises(CommandFailed, match="damaged"):
        api.save_video(render(), tmp_path / "out" / "bad.mp4")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.mp4"]


def test_the_table_has_a_column_a_render_and_dashes_for_what_was_not_measured(render):
    table = result_table([render(), render(slug="other")])
    assert [column.header for column in table.columns] == ["", "toy", "other"]
    cells = dict(zip(table.columns[0].cells, (str(cell) for cell in table.columns[1].cells), strict=True))
    assert cells["cold start"] == "9.30 s"
    assert cells["mux"] == "–"
    assert cells["estimate"] == "$0.0123"
