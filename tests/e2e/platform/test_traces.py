"""One trace per render, from the client to the worker, whatever dies on the way; and who may see it."""

import httpx
import psutil
import pytest

SVD = "stabilityai-stable-video-diffusion"
CLIENT_SPAN = "b7ad6b7169203331"
PHASES = {"encoding", "denoising", "decoding", "muxing", "storing"}


def traced(trace_id):
    return {"traceparent": f"00-{trace_id}-{CLIENT_SPAN}-01"}


def test_one_trace_spans_edge_services_and_worker(platform, rest, eventually):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    render = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD), headers=traced(trace_id)).json()
    assert render["trace_id"] == trace_id
    expected = {"queue", "attempt", *PHASES}

    def everybody_told_their_part():
        trace = platform.collector.trace(trace_id)
        names = {span.name for _, span in trace}
        services = {service for service, _ in trace}
        return expected <= names and {"forge-edge", "forge-scheduler", "forge-inference-worker"} <= services

    eventually(everybody_told_their_part, what="a whole trace")


def test_what_the_platform_asks_itself_makes_no_traces(platform, rest, eventually):
    rest.get("/v1/capacity")
    eventually(lambda: any("GetCapacity" in span.name for _, span in platform.collector.spans), what="a trace")
    begun = {
        span.name for service, span in platform.collector.spans if service != "forge-edge" and not span.parent_span_id
    }
    assert not [name for name in begun if "Health" in name or "WorkerStatus" in name]


@pytest.mark.only_full_size
@pytest.mark.parametrize("how", ["together", "one after the other"])
def test_a_trace_stays_in_one_piece_when_worker_and_scheduler_are_killed_on_the_way(platform, rest, eventually, how):
    trace_id = f"{'1a' if how == 'together' else '1b'}f7651916cd43dd8448eb211c80319c"
    body = platform.small(SVD, num_inference_steps=60, width=192, height=192, num_frames=8)
    render_id = rest.post("/v1/renders", json=body, headers=traced(trace_id)).json()["id"]
    path = f"/v1/renders/{render_id}"

    def stands():
        try:
            found = rest.get(path)
            return found.json() if found.status_code == 200 else None
        except httpx.TransportError:
            return None

    def denoises(attempt):
        found = stands()
        return found and found["attempt"] == attempt and found["progress"]["done_steps"] > 3

    eventually(lambda: denoises(1), seconds=60, what="a first attempt")
    eventually(lambda: {"encoding"} <= _names(rest, path), what="a span of the first worker")
    for process in platform.processes("services.inference_worker"):
        process.kill()
    if how == "one after the other":
        eventually(lambda: denoises(2), seconds=60, what="a second attempt")
    victims = platform.processes("services.scheduler")
    for process in victims:
        process.kill()
    psutil.wait_procs(victims, timeout=10)
    eventually(lambda: (found := stands()) and found["status"] == "succeeded", seconds=90, what="the video")

    def told_spans():
        spans = [span for _, span in platform.collector.trace(trace_id)]
        mine = [span for span in spans if ("forge.render_id", render_id) in _texts(span)]
        return spans if {"render", *PHASES} <= {span.name for span in mine} else None

    spans = eventually(told_spans, what="the rest of the trace")
    known = {span.span_id.hex() for span in spans}
    assert not [span.name for span in spans if span.parent_span_id.hex() not in known | {CLIENT_SPAN}]
    outcomes = [dict(_texts(span))["forge.outcome"] for span in spans if span.name == "attempt"]
    assert sorted(outcomes) == ["lost", "succeeded"]

    trace = eventually(lambda: _whole(rest, path), what="the trace of the API")
    ids = {span["span_id"] for span in trace["spans"]}
    roots = [span for span in trace["spans"] if span["parent_span_id"] not in ids]
    assert [(root["service"], root["parent_span_id"]) for root in roots] == [("edge", CLIENT_SPAN)]
    cut_off = [span for span in trace["spans"] if span["attributes"].get("forge.cut_off")]
    assert [(span["name"], span["status"]) for span in cut_off] == [("denoising", "error")]
    assert all("duration_ms" in span for span in trace["spans"])


def test_renders_that_share_a_trace_id_do_not_see_each_other(platform, rest, eventually):
    trace_id = "2af7651916cd43dd8448eb211c80319c"
    one, other = [
        rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD, seed=seed), headers=traced(trace_id)).json()["id"]
        for seed in (1, 2)
    ]
    shown = [eventually(lambda of=of: _whole(rest, f"/v1/renders/{of}"), what="a trace") for of in (one, other)]
    ids = [{span["span_id"] for span in trace["spans"]} for trace in shown]
    assert not ids[0] & ids[1]
    assert {span["attributes"].get("forge.render_id") for span in shown[0]["spans"]} <= {None, one}


def test_nobody_sees_the_trace_of_another_account(platform, rest):
    assert rest.get("/v1/renders/rnd_00000000000000000000000000/trace").status_code == 404


def test_the_command_draws_the_trace(platform, rest, eventually):
    render_id = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()["id"]
    eventually(lambda: _whole(rest, f"/v1/renders/{render_id}"), what="a trace")
    drawn = platform.forge("trace", render_id).stdout
    assert all(name in drawn for name in ("edge", "queue", "attempt", *PHASES))


def _texts(span):
    return [(attribute.key, attribute.value.string_value) for attribute in span.attributes]


def _names(rest, path):
    return {span["name"] for span in rest.get(f"{path}/trace").json()["spans"] if "duration_ms" in span}


def _whole(rest, path):
    """The trace, once the edge, the scheduler and the worker have told of all their parts, each in its own time."""
    trace = rest.get(f"{path}/trace").json()
    names, services = ({span[field] for span in trace["spans"]} for field in ("name", "service"))
    told = {"render", "attempt", *PHASES} <= names and "edge" in services
    return trace if trace["is_whole"] and told else None


def test_renders_go_on_without_the_span_store_and_their_trace_says_so(platform, rest):
    (store,) = platform.processes("services.traces")
    store.suspend()
    try:
        render = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD)).json()
        assert render["status"] == "succeeded"
        assert platform.is_healthy()
        trace = rest.get(f"/v1/renders/{render['id']}/trace").json()
    finally:
        store.resume()
    assert not trace["is_whole"]
    assert "does not answer" in trace["note"]
    assert {span["name"] for span in trace["spans"]} == {"render", "queue", "attempt"}
