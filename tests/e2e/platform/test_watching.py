"""Event streams: late, twice, interrupted, as lines and as server-sent events."""

import concurrent.futures
import json

SKYREELS = "skywork-skyreels-v2"


def test_every_watcher_sees_every_event_once_in_order(platform, rest, followed):
    render = rest.post("/v1/renders", json=platform.small(SKYREELS, num_inference_steps=10)).json()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: followed(render["id"]), range(8)))
    last = rest.get(f"/v1/renders/{render['id']}").json()["last_seq"]
    assert all([event["seq"] for event in events] == list(range(1, last + 1)) for events in seen)
    assert seen[0] == followed(render["id"]), "a late watcher sees what an early one saw"


def test_a_watcher_that_drops_goes_on_where_it_was(platform, rest, followed):
    render = rest.post("/v1/renders", json=platform.small(SKYREELS, num_inference_steps=10)).json()
    path = f"/v1/renders/{render['id']}/events"
    first: list[int] = []
    with rest.stream("GET", path) as response:
        for line in response.iter_lines():
            first.append(json.loads(line)["seq"])
            if len(first) == 4:
                break
    rest_of_it = [event["seq"] for event in followed(render["id"], after_seq=first[-1])]
    assert first + rest_of_it == list(range(1, rest_of_it[-1] + 1))


def test_a_finished_log_can_be_replayed_from_any_event(platform, rest, followed):
    render = rest.post(f"/v1/inference/{SKYREELS}", json=platform.small(SKYREELS)).json()
    last = render["last_seq"]
    for after in (0, 1, last - 1, last):
        assert [event["seq"] for event in followed(render["id"], after_seq=after)] == list(range(after + 1, last + 1))


def test_a_browser_gets_server_sent_events(platform, rest):
    render = rest.post("/v1/renders", json=platform.small(SKYREELS)).json()
    headers = {"accept": "text/event-stream"}
    with rest.stream("GET", f"/v1/renders/{render['id']}/events", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data:")) for line in response.iter_lines() if line.startswith("data:")]
    seen = [event["seq"] for event in events if not event["keep_alive"]]
    assert seen == list(range(1, len(seen) + 1))
    assert events[-1]["status"] == "succeeded"
