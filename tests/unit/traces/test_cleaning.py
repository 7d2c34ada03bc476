"""What is taken out of spans before they are kept or passed on."""

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from services.traces import convert

SECRET = "a-prompt-nobody-may-see"


def pair(key, **value):
    return common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(**value))


def a_request(**given):
    span = trace_pb2.Span(
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        name="/forge.catalog.v1.CatalogService/ListModels",
        kind=trace_pb2.Span.SPAN_KIND_SERVER,
        start_time_unix_nano=1_000_000_000,
        end_time_unix_nano=3_000_000_000,
        **given,
    )
    request = trace_service_pb2.ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(
        [pair("service.name", string_value="forge-catalog"), pair("host", string_value=SECRET)]
    )
    group.scope_spans.add().spans.append(span)
    return request


def test_nothing_that_somebody_could_have_typed_is_kept_or_passed_on():
    request = a_request(
        attributes=[
            pair("http.url", string_value=f"http://forge/links/{SECRET}"),
            pair("user_agent", string_value=SECRET),
            pair("forge.model", array_value=common_pb2.ArrayValue(values=[common_pb2.AnyValue(string_value=SECRET)])),
            pair("http.status_code", string_value="200"),
        ],
        status=trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message=SECRET),
        trace_state=f"forge={SECRET}",
        events=[
            trace_pb2.Span.Event(
                time_unix_nano=2_000_000_000,
                name="exception",
                attributes=[pair("exception.message", string_value=SECRET)],
            )
        ],
        links=[trace_pb2.Span.Link(attributes=[pair("forge.model", string_value=SECRET)])],
    )
    convert.clean(request)
    assert SECRET.encode() not in request.SerializeToString()
    (span,) = convert.spans_from_otlp(request)
    assert span.attributes == {"http.status_code": "200"}
    assert span.status == "error"


def test_a_span_is_told_in_our_words():
    request = a_request(attributes=[pair("forge.simulated", bool_value=True), pair("forge.done_steps", int_value=3)])
    convert.clean(request)
    (span,) = convert.spans_from_otlp(request)
    assert (span.service, span.name, span.is_entrance) == ("catalog", "CatalogService/ListModels", True)
    assert (span.began_us, span.ended_us) == (1_000_000, 3_000_000)
    assert span.attributes == {"forge.simulated": "true", "forge.done_steps": "3"}


def test_long_names_and_many_events_are_cut():
    events = [trace_pb2.Span.Event(name="x" * 1000) for _ in range(1000)]
    request = a_request(attributes=[pair("forge.model", string_value="m" * 1000)], events=events)
    convert.clean(request)
    assert len(request.SerializeToString()) < 20_000


def test_spans_without_ids_are_left_out():
    request = a_request()
    request.resource_spans[0].scope_spans[0].spans[0].span_id = b""
    assert convert.spans_from_otlp(request) == []
