"""Which spans of a trace are a render's, whoever else uses the same trace id."""

import pytest

from services.traces.domain import EDGE, RENDER_ID, Span, of_render


def a_span(span_id, parent="", *, service="scheduler", render_id="", entrance=False, began=0, **facts):
    attributes = {**facts, **({RENDER_ID: render_id} if render_id else {})}
    return Span("t", span_id, parent, service, span_id, began, began + 1, is_entrance=entrance, attributes=attributes)


def request(name, parent, render_id):
    """A request through the edge that asked for a render."""
    return [
        a_span(f"{name}-edge", parent, service=EDGE, entrance=True, http="POST"),
        a_span(f"{name}-authorization", f"{name}-edge", service=EDGE),
        a_span(f"{name}-create", f"{name}-edge", render_id=render_id, entrance=True),
        a_span(f"{name}-catalog", f"{name}-create", service="catalog"),
        a_span(f"{name}-render", f"{name}-edge", render_id=render_id),
        a_span(f"{name}-attempt", f"{name}-render", render_id=render_id),
    ]


def names(spans):
    return {span.name for span in spans}


def test_a_render_has_the_whole_of_the_request_that_asked_for_it():
    spans = request("one", "client", "rnd_1")
    assert names(of_render(spans, "rnd_1")) == names(spans)


def test_renders_under_one_trace_id_do_not_see_each_other():
    spans = [*request("one", "client", "rnd_1"), *request("other", "client", "rnd_2")]
    assert names(of_render(spans, "rnd_1")) == {span.name for span in spans if span.name.startswith("one")}


@pytest.mark.parametrize("parent", ["one-edge", "one-create", "one-attempt"])
def test_a_request_that_says_it_is_part_of_another_s_span_belongs_to_neither(parent):
    spans = [*request("one", "client", "rnd_1"), *request("intruder", parent, "rnd_2")]
    assert {name.partition("-")[0] for name in names(of_render(spans, "rnd_1"))} == {"one"}
    assert {name.partition("-")[0] for name in names(of_render(spans, "rnd_2"))} == {"intruder"}


def test_spans_that_do_not_name_the_render_show_no_facts():
    found = {span.name: span for span in of_render(request("one", "client", "rnd_1"), "rnd_1")}
    assert found["one-edge"].attributes == {}
    assert found["one-create"].attributes == {RENDER_ID: "rnd_1"}


def test_what_hangs_in_the_air_is_shown_all_the_same():
    spans = [a_span("phase", "lost", render_id="rnd_1"), a_span("other", "lost", render_id="rnd_2")]
    assert names(of_render(spans, "rnd_1")) == {"phase"}


def test_a_circle_of_parents_ends():
    spans = [a_span("a", "b", render_id="rnd_1"), a_span("b", "a")]
    assert names(of_render(spans, "rnd_1")) == {"a", "b"}


def test_they_come_in_the_order_in_which_they_began():
    spans = [a_span("late", render_id="r", began=9), a_span("early", render_id="r", began=1)]
    assert [span.name for span in of_render(spans, "r")] == ["early", "late"]
