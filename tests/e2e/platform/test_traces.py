"""One trace per render, from the client to the worker."""

SVD = "stabilityai-stable-video-diffusion"


def test_one_trace_spans_edge_services_and_worker(platform, rest, eventually):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    render = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD), headers=headers).json()
    assert render["trace_id"] == trace_id
    expected = {"queue", "attempt", "encoding", "denoising", "decoding", "muxing", "storing"}

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
