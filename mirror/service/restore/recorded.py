"""A run of a restore with its record: begun, counted, ended, whatever happens."""

from dataclasses import replace

from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import RestorePlan
from mirror.errors import MirrorError, PartialError
from mirror.service.restore.execute import RestoreObserver, RestoreResult
from mirror.service.restore.journal import RestoreJournal
from mirror.service.restore.readable_run import ReadableRun
from mirror.service.restore.rest import PartitionRest
from mirror.service.restore.run import RestoreSession

__all__ = ["run_recorded"]


async def run_recorded(
    session: RestoreSession,
    journal: RestoreJournal,
    plan: RestorePlan,
    rests: dict[TopicPartition, PartitionRest],
    *,
    observer: RestoreObserver,
    bytes_per_second: int | None = None,
) -> tuple[RestorePlan, RestoreResult]:
    """Run a plan; the record, begun before, gets its end. The plan as it was run in the end, and the result.

    Raises:
        PartialError: also where all is restored, but which offset every record got could not be kept.
        MirrorError: as :meth:`RestoreSession.execute`.
    """
    counted = _Counted(observer)
    run = ReadableRun(session, journal.selection, plan, rests)
    try:
        result = await run.execute(
            observer=counted,
            bytes_per_second=bytes_per_second,
            on_groups=journal.note_groups,
            on_state=journal.note_state,
        )
        await _keep_offsets(journal, run.plan, is_changed=result.loaded_records > 0)
    except BaseException as error:  # also Ctrl-C: it is told how the run ended
        await journal.end(
            error,
            loaded_records=counted.records,
            loaded_bytes=counted.size_bytes,
            unreadable=run.plan.not_restored,
        )
        raise
    result = replace(result, loaded_bytes=max(result.loaded_bytes, counted.size_bytes))
    await journal.end(
        loaded_records=result.loaded_records, loaded_bytes=result.loaded_bytes, unreadable=run.plan.not_restored
    )
    return run.plan, result


async def _keep_offsets(journal: RestoreJournal, plan: RestorePlan, *, is_changed: bool) -> None:
    try:
        await journal.note_offsets(plan, is_changed=is_changed)
    except MirrorError as error:
        raise PartialError(
            f"all records are restored, but which offset each of them got is not kept: {error.message}",
            hint=f"{error.hint}; then the same command keeps it" if error.hint else "the same command keeps it",
        ) from error


class _Counted:
    """Tells the observer, and counts what this run loaded."""

    def __init__(self, observer: RestoreObserver) -> None:
        self.records = 0
        self.size_bytes = 0
        self._observer = observer

    def advanced(self, topic: str, records: int, size_bytes: int) -> None:
        self.records += records
        self.size_bytes += size_bytes
        self._observer.advanced(topic, records, size_bytes)

    def finished(self, topic: str) -> None:
        self._observer.finished(topic)
