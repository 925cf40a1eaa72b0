"""With checkpoints of the group log every answer is the same as without, whatever was stored, asked or damaged."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.group_collecting import collect_positions
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.keys import format_group_checkpoint_key
from mirror.core.positions import PartitionId
from mirror.core.segment.index import ForkEntry
from mirror.service.group_checkpointing import GroupCheckpointer
from mirror.service.group_checkpoints import list_group_checkpoints
from mirror.service.group_folding import fold_group_log
from tests.builders import a_marker
from tests.group_builders import a_commit_batch, a_commit_key, a_commit_value, a_group_key
from tests.observe_builders import T0_MS, TOPIC_ID, RepositoryBuilder, a_slice

Coverages = dict[PartitionId, PartitionCoverage]

steps = st.lists(
    st.tuples(
        st.sampled_from(
            ("commit", "commit", "delete", "transaction", "end commit", "end abort", "no key", "other key")
        ),
        st.sampled_from("ab"),  # group
        st.integers(0, 1),  # partition of the log
        st.integers(1, 2),  # producer of a transaction
        st.integers(-3, 5),  # the clock runs on, or back
        st.sampled_from(("", "", "", "put", "put", "checkpoint")),
    ),
    min_size=5,
    max_size=50,
)


class History:
    """A repository that grows, and its log's ends."""

    def __init__(self) -> None:
        self.builder = RepositoryBuilder()
        self.offsets = [0, 0]
        self.clock_ms = T0_MS
        self._begun = [0, 0]
        self._batches: list[list[bytes]] = [[], []]
        for partition in (0, 1):
            self.builder.start(GROUP_LOG_TOPIC, partition)

    def write(self, what: str, group: str, partition: int, producer_id: int, millis: int) -> None:
        """One record or marker."""
        offset = self.offsets[partition]
        self.clock_ms += millis
        key = a_commit_key(group)
        value = a_commit_value(offset * 10, metadata=f"{what} {partition}")
        if what.startswith("end"):
            batch = a_marker(offset, producer_id, commit=what == "end commit", timestamp_ms=self.clock_ms)
        elif what == "transaction":
            batch = a_commit_batch(
                offset, (key, value), at_ms=self.clock_ms, producer_id=producer_id, transactional=True
            )
        else:
            pair = {"delete": (key, None), "no key": (None, value), "other key": (a_group_key(group), b"x")}
            batch = a_commit_batch(offset, pair.get(what, (key, value)), at_ms=self.clock_ms)
        self._batches[partition].append(batch)
        self.offsets[partition] += 1

    def put(self) -> str:
        """What was written since the last time, as one object; its key, or an empty text."""
        slices = [
            a_slice(GROUP_LOG_TOPIC, number, self._begun[number], b"".join(batches))
            for number, batches in enumerate(self._batches)
            if batches
        ]
        key = self.builder.put(slices) if slices else ""
        self._batches = [[], []]
        self._begun = list(self.offsets)
        return key

    def checkpoint(self, writer: str) -> None:
        """Of what is stored."""
        self.put()
        GroupCheckpointer(self.builder.repository, writer).look(self.builder.now_ms, at_once=True)

    def coverages(self) -> Coverages:
        """All that is stored."""
        return build_coverage((entry.key, entry.index) for entry in self.builder.repository.load_indexes())


def grow(log: list[tuple[str, str, int, int, int, str]]) -> History:
    """The history, with objects and checkpoints in between."""
    history = History()
    for number, (*step, then) in enumerate(log):
        history.write(*step)  # type: ignore[arg-type]
        if then == "put":
            history.put()
        elif then == "checkpoint":
            history.checkpoint(f"w{number}")
    history.put()
    return history


def assert_same(
    history: History, coverages: Coverages, at_ms: int | None, limits: dict[PartitionId, int] | None
) -> None:
    """Fold with and without."""
    repository = history.builder.repository
    folded = fold_group_log(repository, coverages, at_ms=at_ms, next_offsets=limits)
    plain = fold_group_log(repository, coverages, at_ms=at_ms, next_offsets=limits, with_checkpoints=False)
    assert folded.read_bytes <= plain.read_bytes
    assert (folded.problems, folded.lost) == (plain.problems, plain.lost)
    for pid, fold in plain.folds.items():
        assert folded.folds[pid].entries == fold.entries
        assert folded.folds[pid].newest_record_ms == fold.newest_record_ms
        assert _some(folded.folds[pid].open_transactions) == _some(fold.open_transactions)
    assert collect_positions(folded.folds.values()) == collect_positions(plain.folds.values())


def _some(transactions: object) -> object:
    assert isinstance(transactions, dict)
    return {producer_id: pending for producer_id, pending in transactions.items() if pending}


questions = st.tuples(
    st.none() | st.integers(-5, 120), st.none() | st.tuples(st.integers(0, 40), st.none() | st.integers(0, 40))
)


@settings(max_examples=40, deadline=None)
@given(steps, st.lists(questions, min_size=1, max_size=6), st.randoms(use_true_random=False), st.integers(0, 20))
def test_checkpoints_change_no_answer(
    log: list[tuple[str, str, int, int, int, str]],
    asked: list[tuple[int | None, tuple[int, int | None] | None]],
    chance: random.Random,
    fork_offset: int,
) -> None:
    """At any time, up to any offsets, with open transactions; also where one is damaged, and where the past of the log is another one."""
    history = grow(log)
    for after_step, limits in asked:
        at_ms = None if after_step is None else T0_MS + after_step
        bounds = None
        if limits is not None:
            bounds = {PartitionId(TOPIC_ID, n): bound for n, bound in enumerate(limits) if bound is not None}
        assert_same(history, history.coverages(), at_ms, bounds)
    builder = history.builder
    keys = [format_group_checkpoint_key(key) for key in list_group_checkpoints(builder.repository, TOPIC_ID)]
    if keys:
        key = chance.choice(keys)
        whole = bytearray(builder.store.get(key))
        whole[int(chance.random() * len(whole))] ^= 1 << chance.randrange(8)
        builder.store.delete(key)
        builder.store.put(key, bytes(whole[: chance.choice((None, len(whole) // 2))]))
        assert_same(history, history.coverages(), None, None)
    fork = ForkEntry(
        topic=GROUP_LOG_TOPIC,
        topic_id=TOPIC_ID,
        partition=0,
        fork_offset=fork_offset,
        last_leader_epoch=99,
        detected_at_ms=builder.now_ms,
    )
    builder.put(forks=[fork])
    assert_same(history, history.coverages(), None, None)
