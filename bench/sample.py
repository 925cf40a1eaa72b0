"""What one run of one side gave."""

from dataclasses import dataclass

__all__ = ["Sample"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run.

    Attributes:
        records: copied or read within `seconds`.
        cpu_seconds: of the side's own process (not of broker or store) within `seconds`.
        process_cpu_seconds: of that process from its start to its end, interpreter and imports included.
        stored_bytes, objects: what was written to the store, where that is what the side does.
        steady: the same run up to its last object but one, so without the wait for the last flush by age.
    """

    records: int
    seconds: float
    cpu_seconds: float
    process_cpu_seconds: float
    peak_rss_bytes: int
    stored_bytes: int = 0
    objects: int = 0
    steady: "Sample | None" = None

    @property
    def records_per_second(self) -> float:
        """The rate that is compared."""
        return self.records / self.seconds

    @property
    def cpu_microseconds_per_record(self) -> float:
        """CPU within the measured span."""
        return self.cpu_seconds / self.records * 1e6
