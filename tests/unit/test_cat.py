"""`mirror cat` finds exactly the records that were asked for, and opens no more of the repository than that takes."""

import re

import pytest

from mirror.core.segment.index import ForkEntry
from mirror.service.cat import RecordSearch
from mirror.service.cat_choice import CatSelection, choose
from tests.builders import T0_MS, TOPIC_ID, a_batch, a_marker, a_tail
from tests.cat_book import Book, draft, offsets

MINUTE_MS = 60_000


@pytest.fixture
def book() -> Book:
    """Empty."""
    return Book()


def minutes(base_offset: int, *at: int) -> bytes:
    """A batch with one record a given minute after T0."""
    return a_batch(base_offset, len(at), timestamps=[T0_MS + minute * MINUTE_MS for minute in at])


MODES = pytest.mark.parametrize("mode", ["passthrough", "zstd", "auto"])


@MODES
@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_records_come_as_a_consumer_sees_them(book: Book, mode: str, codec: int) -> None:
    """Null and empty keys and values, headers in order with repeated names and nulls, times; however they are stored."""
    tails = [a_tail(None, b"", [("é".encode(), b"\xff"), (b"a", None), (b"a", b"")]), a_tail(b"k", None)]
    book.put(draft(a_batch(7, 2, codec=codec, tails=tails), start_offset=7), mode=mode)
    found, report = book.cat()
    assert [one.record[2:] for one in found] == [
        (None, b"", (("é", b"\xff"), ("a", None), ("a", b""))),
        (b"k", None, ()),
    ]
    assert [(one.partition, one.record.offset, one.timestamp_ms) for one in found] == [
        (0, 7, T0_MS + 7),
        (0, 8, T0_MS + 8),
    ]
    assert (report.objects, report.batches, report.is_cut, report.is_damaged) == (1, 1, False, False)


@MODES
def test_since_opens_only_what_is_late_enough(book: Book, mode: str) -> None:
    """By the largest time of a run, then of a block or batch: 2 of 20 objects, 4 of 60 batches."""
    for number in range(20):
        first = number * 9
        book.put(
            draft(*(minutes(first + 3 * n, *[number * 3 + n] * 3) for n in range(3)), start_offset=first), mode=mode
        )
    found, report = book.cat(since_ms=T0_MS + 56 * MINUTE_MS)
    assert offsets(found) == list(range(168, 180))
    assert (report.objects, report.objects_in_all) == (2, 20)
    assert (report.batches, report.batches_in_all) == (4, 60)
    assert book.calls.count("get_range") == 2


@MODES
def test_times_in_any_order(book: Book, mode: str) -> None:
    """A record of the wanted time behind and before others of other times is found; nothing relies on the first of a batch."""
    book.put(draft(minutes(0, 50, 2, 60), minutes(3, 1, 1, 1)), mode=mode)
    book.put(draft(minutes(6, 90, 3, 91), start_offset=6), mode=mode)
    book.put(draft(minutes(9, 2, 70), start_offset=9), mode=mode)
    assert offsets(book.cat(until_ms=T0_MS + 2 * MINUTE_MS)[0]) == [1, 3, 4, 5, 9]
    found, report = book.cat(since_ms=T0_MS + 2 * MINUTE_MS, until_ms=T0_MS + 50 * MINUTE_MS)
    assert offsets(found) == [0, 1, 7, 9]
    assert (report.objects, report.batches, report.batches_in_all) == (3, 3, 4)


def test_both_ends_are_included_to_the_millisecond(book: Book) -> None:
    """T itself is in both."""
    book.put(draft(a_batch(0, 5)))
    assert offsets(book.cat(since_ms=T0_MS + 1, until_ms=T0_MS + 3)[0]) == [1, 2, 3]
    assert book.cat(since_ms=T0_MS + 5)[0] == []


def test_append_time_is_the_record_time(book: Book) -> None:
    """The producers' times of such a batch do not count, and a batch that is too late is not opened."""
    early, late = T0_MS + 5 * MINUTE_MS, T0_MS + 9 * MINUTE_MS
    old = [T0_MS - 99 * MINUTE_MS] * 2
    book.put(draft(a_batch(0, 2, timestamps=old, append_time=early), a_batch(2, 2, timestamps=old, append_time=late)))
    found, report = book.cat(until_ms=early)
    assert [(one.record.offset, one.timestamp_ms, one.has_append_time) for one in found] == [
        (0, early, True),
        (1, early, True),
    ]
    assert report.batches == 1
    assert offsets(book.cat(since_ms=late)[0]) == [2, 3]


def test_transactions(book: Book) -> None:
    """Committed records are shown; markers never, and what was aborted is not stored."""
    batches = [
        a_batch(0, 2, producer_id=1, transactional=True),
        a_batch(2, 2, producer_id=2, transactional=True),
        a_marker(4, 1, commit=True),
        a_marker(5, 2, commit=False),
        a_batch(6, 1),
    ]
    book.put(draft(*batches, aborted=[(2, 2)]))
    found, report = book.cat()
    assert offsets(found) == [0, 1, 6]
    assert report.batches == 2


@MODES
def test_from_an_offset(book: Book, mode: str) -> None:
    """Inside a batch, too; what lies before is not fetched."""
    for first in (0, 10, 20):
        book.put(draft(a_batch(first, 5), a_batch(first + 5, 5), start_offset=first), mode=mode)
    found, report = book.cat(from_offset=17)
    assert offsets(found) == list(range(17, 30))
    assert (report.objects, report.batches) == (2, 3)


def test_holes_and_trimmed_batches(book: Book) -> None:
    """What compaction removed is not there; what lies below the log's start is not shown although its batch is stored."""
    book.put(draft(a_batch(0, 6, holes=[4]), start_offset=3))
    assert offsets(book.cat()[0]) == [3, 5]


def test_overlap_is_shown_once_and_cut_tails_not_at_all(book: Book) -> None:
    """As coverage chooses."""
    book.put(draft(a_batch(0, 6)))
    book.put(draft(a_batch(0, 6), a_batch(6, 4)))
    fork = ForkEntry(
        topic="orders", topic_id=TOPIC_ID, partition=0, fork_offset=8, last_leader_epoch=0, detected_at_ms=T0_MS
    )
    book.put(draft(a_batch(8, 1, leader_epoch=1), start_offset=8), forks=[fork])
    found, _ = book.cat()
    assert offsets(found) == list(range(9))


def _several(book: Book) -> None:
    for number in range(3):
        drafts = [
            draft(
                a_batch(
                    number * 4,
                    4,
                    timestamps=[T0_MS + number * MINUTE_MS + delta * 10 + partition for delta in range(4)],
                ),
                start_offset=number * 4,
                partition=partition,
            )
            for partition in (2, 0, 1)
        ]
        book.put(*drafts)


def test_several_partitions_are_merged_by_time(book: Book) -> None:
    """Each stays in the order of its offsets; one request an object, whatever it holds."""
    _several(book)
    found, _ = book.cat()
    assert [one.timestamp_ms for one in found] == sorted(one.timestamp_ms for one in found)
    for partition in range(3):
        assert offsets([one for one in found if one.partition == partition]) == list(range(12))
    assert book.calls.count("get_range") == 3
    assert {one.partition for one in book.cat(partitions=[1, 2])[0]} == {1, 2}


def test_the_limit_stops_the_reading(book: Book) -> None:
    """One object of a hundred is opened for the first ten records."""
    for first in range(0, 1000, 10):
        book.put(draft(a_batch(first, 10), start_offset=first))
    found, report = book.cat(limit=10)
    assert offsets(found) == list(range(10))
    assert report.is_cut
    assert (report.objects, report.objects_in_all) == (1, 100)
    assert book.calls.count("get_range") == 1
    found, report = book.cat(limit=45)
    assert len(found) == 45
    assert report.objects <= 12
    assert not book.cat(limit=2000)[1].is_cut


@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
@pytest.mark.parametrize("codec", [0, 3])
def test_a_key(book: Book, mode: str, codec: int) -> None:
    """All of its bytes: not a prefix, not in the value, not null."""
    tails = [a_tail(b"a", b"1"), a_tail(b"ab", b"a"), a_tail(None, b"a"), a_tail(b"a", None), a_tail(b"", b"x")]
    book.put(draft(a_batch(0, 5, codec=codec, tails=tails)), mode=mode)
    assert offsets(book.cat(key=b"a")[0]) == [0, 3]
    assert offsets(book.cat(key=b"")[0]) == [4]
    assert book.cat(key=b"c")[0] == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"paid", [0, 2]),
        (b"^paid", [2]),
        (b"(?i)PAID", [0, 2]),
        (b"id-7$", [1]),
        (b"state.*(paid|open)", [0]),
        (b"\xff", [3]),
        (b"null", []),
        (b"", [0, 1, 2, 3]),
    ],
)
def test_grep(book: Book, pattern: bytes, expected: list[int]) -> None:
    """In the value or the key, anywhere unless anchored; never in headers."""
    tails = [
        a_tail(b"id-6", b'{"state":"paid"}'),
        a_tail(b"id-7", None, [(b"paid", b"paid")]),
        a_tail(b"paid-1", b"x"),
        a_tail(None, b"\xfe\xff"),
    ]
    book.put(draft(a_batch(0, 4, codec=4, tails=tails)))
    assert offsets(book.cat(pattern=re.compile(pattern))[0]) == expected


def test_a_search_that_is_given_up(book: Book) -> None:
    """The report is complete for what was done."""
    for first in range(0, 100, 10):
        book.put(draft(a_batch(first, 10), start_offset=first))
    selection = CatSelection(topic="orders")
    told: list[tuple[int, int]] = []

    def on_object(done: int, of: int) -> bool:
        told.append((done, of))
        return done < 3

    search = RecordSearch(book.repository, choose(book.repository, selection), selection, on_object=on_object)
    records = search.records()
    for _ in range(11):
        next(records)
    records.close()
    assert told == [(1, 10)]
    assert (search.report.records, search.report.is_cut) == (11, True)
    assert 2 <= search.report.objects <= 4
    assert search.report.read_bytes > 0
    search = RecordSearch(book.repository, choose(book.repository, selection), selection, on_object=on_object)
    assert len(list(search.records())) == 30
    assert search.report.is_cut
