"""Which part of a file a request asks for: RFC 9110, against a model of it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.web.domain.byte_ranges import File, NotSatisfiable, is_known, part_of

BYTES = bytes(range(256))
FILE = File(len(BYTES), '"abc"', datetime(2026, 11, 27, 12, 0, 0, 500_000, tzinfo=UTC))
POSITIONS = st.one_of(st.integers(0, 300), st.integers(0, 10**30))


def part(wanted, if_range=None, file=FILE):
    return part_of(file, wanted=wanted, if_range=if_range)


@given(POSITIONS, POSITIONS)
def test_from_one_byte_to_another_is_what_a_slice_has(first, last):
    wanted = f"bytes={first}-{last}"
    if last < first:
        assert part(wanted) is None
    elif first >= len(BYTES):
        with pytest.raises(NotSatisfiable):
            part(wanted)
    else:
        found = part(wanted)
        assert found is not None
        assert BYTES[found.start : found.stop] == BYTES[first:][: last - first + 1]


@given(POSITIONS)
def test_from_one_byte_on_is_all_up_to_the_end(first):
    if first >= len(BYTES):
        with pytest.raises(NotSatisfiable):
            part(f"bytes={first}-")
    else:
        assert part(f"bytes={first}-") == range(first, len(BYTES))


@given(POSITIONS)
def test_the_last_bytes_are_as_many_as_there_are(count):
    if count == 0:
        with pytest.raises(NotSatisfiable):
            part("bytes=-0")
    else:
        found = part(f"bytes=-{count}")
        assert found is not None
        assert BYTES[found.start : found.stop] == BYTES[-count:]


@given(st.one_of(st.none(), st.text(max_size=40), st.text(alphabet="bytes=0123456789-, \t", max_size=30)))
def test_whatever_is_sent_as_a_range_is_a_part_or_the_whole_or_refused(wanted):
    try:
        found = part(wanted)
    except NotSatisfiable:
        return
    assert found is None or 0 <= found.start < found.stop <= len(BYTES)


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=1",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=0-1,3-4",
        "items=0-1",
        "bytes=0-" + 5000 * "9",
    ],
)
def test_what_is_no_single_range_of_bytes_means_the_whole(wanted):
    assert part(wanted) is None


@pytest.mark.parametrize("wanted", ["bytes=1-2", "Bytes=1-2", "bytes= 1-2 ", "BYTES =1-2"])
def test_a_range_is_read_however_it_is_spaced_and_spelt(wanted):
    assert part(wanted) == range(1, 3)


def test_of_a_file_without_bytes_there_is_no_part():
    for wanted in ("bytes=0-", "bytes=-1", "bytes=0-0"):
        with pytest.raises(NotSatisfiable):
            part(wanted, file=File(0, '"e"', FILE.modified_at))


@pytest.mark.parametrize(
    ("if_range", "is_same"),
    [
        (None, True),
        ('"abc"', True),
        ('W/"abc"', False),
        ('"abd"', False),
        ("abc", False),
        ("Fri, 27 Nov 2026 12:00:00 GMT", True),
        ("Fri, 27 Nov 2026 12:00:01 GMT", False),
        ("yesterday", False),
    ],
)
def test_a_part_is_sent_only_of_the_file_of_which_somebody_has_the_rest(if_range, is_same):
    assert (part("bytes=1-2", if_range) is not None) is is_same


@pytest.mark.parametrize(
    ("if_none_match", "known"),
    [
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", "abc"', True),
        ("*", True),
        ('"x"', False),
        ("abc", False),
        ("", False),
    ],
)
def test_a_file_is_known_by_its_tag(if_none_match, known):
    assert is_known(FILE, if_none_match=if_none_match, if_modified_since=None) is known
    later = "Fri, 27 Nov 2026 13:00:00 GMT"
    assert is_known(FILE, if_none_match=if_none_match, if_modified_since=later) is known, "the tag decides"


@pytest.mark.parametrize(
    ("since", "known"),
    [
        ("Fri, 27 Nov 2026 12:00:00 GMT", True),
        ("Fri, 27 Nov 2026 11:59:59 GMT", False),
        ("Fri, 27 Nov 2026 12:00:00 -0000", True),
        ("soon", False),
        ("", False),
    ],
)
def test_without_a_tag_a_file_is_known_by_its_date(since, known):
    assert is_known(FILE, if_none_match=None, if_modified_since=since) is known


def test_dates_are_written_in_greenwich_time_to_the_second():
    moved = File(1, '""', FILE.modified_at.astimezone(tz=None) + timedelta(hours=1))
    assert moved.last_modified == "Fri, 27 Nov 2026 13:00:00 GMT"
