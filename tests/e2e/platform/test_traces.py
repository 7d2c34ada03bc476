"""One trace per render, from the client to the worker."""

SVD = "stabilityai-stable-video-diffusion"


def test_one_trace_spans_edge_services_and_worker(platform, rest, eventually):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    render = rest.post(f"/v1/inference/{SVD}", json=platform.small(SVD), headers=headers).json()
    assert render["trace_id"] == trace_id
    expected = {"queue", "attempt", "encoding", "denoising", "decoding", "muxing", "storing"}

    def names():
        return {span.name for _, span in platform.collector.trace(trace_id)}

    eventually(lambda: expected <= names(), what=f"spans {expected}")
    services = {service for service, _ in platform.collector.trace(trace_id)}
    assert {"forge-scheduler", "forge-inference-worker"} <= services
    assert any("edge" in service or "envoy" in service for service in services)
