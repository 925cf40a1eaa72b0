"""What leaders said of a partition around a moment; roll-ups have the first and the last sample of a run, so this reads footers."""

import threading
from collections.abc import Sequence

from mirror.core.coverage import CoveredRun
from mirror.core.positions import PartitionId
from mirror.core.segment.index import WatermarkSample
from mirror.errors import DamageError, ObjectNotFoundError
from mirror.storage.repository import Repository

__all__ = ["FooterNeededError", "SampleReader", "writer_of"]


class FooterNeededError(Exception):
    """What was asked stands in a footer that is not read yet."""


class SampleReader:
    """Watermark samples by object, each footer read once; for several threads.

    Args:
        repository: where from.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._lock = threading.Lock()
        self._by_key: dict[str, dict[tuple[PartitionId, int], list[WatermarkSample]]] = {}

    def of(self, piece: CoveredRun) -> Sequence[WatermarkSample]:
        """The samples of a piece's run.

        Raises:
            DamageError: the object cannot be read or is gone.
            UnreachableError, AccessError, StoreError: as the store says.
        """
        try:
            return self.of_known(piece)
        except FooterNeededError:
            try:
                index, _ = self.repository.read_index(piece.object_key)
            except ObjectNotFoundError as error:
                raise DamageError(
                    f"{piece.object_key}: the object is gone, so what stood in the log then cannot be told",
                    hint="`mirror verify` lists every missing range; another --at may do",
                ) from error
            found = {(run.partition_id, run.start_offset): run.watermarks for run in index.runs}
            with self._lock:
                self._by_key[piece.object_key] = found
            return self.of_known(piece)

    def of_known(self, piece: CoveredRun) -> Sequence[WatermarkSample]:
        """The same without reading a footer.

        Raises:
            FooterNeededError: one has to be read.
        """
        if piece.run.watermarks:
            return piece.run.watermarks
        with self._lock:
            found = self._by_key.get(piece.object_key)
        if found is None:
            raise FooterNeededError
        return found.get((piece.run.partition_id, piece.run.start_offset), ())


def writer_of(object_key: str) -> str:
    """Who wrote an object of any level: its name ends with ``<writer>-<sequence>``."""
    return object_key.rpartition("/")[2].split("-")[-2]
