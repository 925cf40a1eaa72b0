"""Keeps offsets: fills what holds no record, so that every record gets the offset it had.

- *The beginning.* Offsets before the first one that is restored were deleted at the source: batches of empty records bring the log to
  it, then DeleteRecords removes them. The log begins where it began. Where the first record lies much further on (a compacted topic),
  the log begins there: no consumer sees the difference, and markers for millions of offsets would take minutes.
- *Holes* (compaction, aborted transactions, markers, records that are dropped by their time, gaps): a `HoleFiller`.

Everything before a hole is acknowledged before it is filled: markers and batches have no order between them.
"""

import asyncio

from mirror.core.filler import FILLER_RECORDS_MAX, filler_batch
from mirror.core.positions import TopicPartition
from mirror.errors import ClusterError
from mirror.kafka.batch_producer import OFFSET_UNKNOWN
from mirror.kafka.client import MirrorClient
from mirror.kafka.delete_records import delete_records
from mirror.kafka.hole_filler import HoleFiller, went_back_error, written_beyond_error
from mirror.kafka.log_ends import log_ends
from mirror.service.restore.loading import PartitionJob

__all__ = ["LONG_LEAD_OFFSETS", "OffsetKeeper", "lead_to"]

LONG_LEAD_OFFSETS = 100_000
_AT_ONCE = 4
_FILLER_TIME_MS = 0


def lead_to(lead_offset: int, first_offset: int) -> int:
    """Where the log begins, given where it should and where its first record is."""
    return first_offset if first_offset - lead_offset >= LONG_LEAD_OFFSETS else lead_offset


class OffsetKeeper:
    """Brings logs to offsets.

    Args:
        client: of the target.
        filler: for the holes.
    """

    def __init__(self, client: MirrorClient, filler: HoleFiller) -> None:
        self._client = client
        self._filler = filler
        self._looked: set[TopicPartition] = set()

    async def reach(self, job: PartitionJob, offset: int) -> None:
        """Fill the offsets from the log's end to ``offset``; everything that was sent is acknowledged.

        Raises:
            ClusterError: the log is beyond it already, or somebody else writes to it.
            AccessError, UnreachableError: as the target says.
        """
        if offset < job.position:
            raise ClusterError(f"{job.target}: its log ends at {job.position}, beyond offset {offset} that comes next")
        if job.is_blank:
            await self._begin(job, lead_to(job.lead_offset, offset))
            job.is_blank = False
        if offset > job.position:
            if job.target not in self._looked:
                await self._look(job)
            await self._filler.fill(job.target, start_offset=job.position, count=offset - job.position)
            job.position = offset

    async def _look(self, job: PartitionJob) -> None:
        """Before the first hole: a run that stood still while another went on must not write markers behind what that one loaded."""
        found = (await log_ends(self._client, [job.target]))[job.target]
        if found < job.position:
            raise went_back_error(job.target, known_offset=job.position, found_offset=found)
        if found > job.position:
            raise written_beyond_error(job.target, expected_offset=job.position, found_offset=found)
        self._looked.add(job.target)

    async def _begin(self, job: PartitionJob, lead_offset: int) -> None:
        topic, partition = job.target
        while job.position < lead_offset:
            futures: list[tuple[int, asyncio.Future[int]]] = []
            for _ in range(_AT_ONCE):
                count = min(FILLER_RECORDS_MAX, lead_offset - job.position)
                if count:
                    batch = filler_batch(count, timestamp_ms=_FILLER_TIME_MS)
                    futures.append((job.position, await job.producer.send(topic, partition, batch)))
                    job.position += count
            for expected, future in futures:
                landed = await future
                if landed not in (expected, OFFSET_UNKNOWN):
                    raise ClusterError(
                        f"{job.target}: filler was appended at offset {landed} instead of {expected}: "
                        "somebody else writes to the topic",
                        hint="stop that producer, delete the topic and restore again",
                    )
        if job.log_start_offset < lead_offset:
            await delete_records(self._client, {job.target: lead_offset})
            job.log_start_offset = lead_offset
