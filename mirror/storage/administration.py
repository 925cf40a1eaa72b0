"""What ``mirror init`` and ``mirror check`` ask of the place that holds the objects, beside objects."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mirror.errors import StoreError
from mirror.storage.object_store import ObjectStore

__all__ = ["StoreAdmin", "StoreDescription", "admin_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDescription:
    """Properties of a bucket or folder; None where it cannot be told (no right to ask, or no such notion).

    ``expires_after_days`` is the shortest life that a lifecycle rule grants to objects of the bucket: anything but None may endanger the
    repository.
    ``notes`` are sentences about what could not be asked.
    """

    kind: str
    free_bytes: int | None = None
    versioning: bool | None = None
    object_lock: bool | None = None
    expires_after_days: int | None = None
    notes: tuple[str, ...] = ()


@runtime_checkable
class StoreAdmin(Protocol):
    """The bucket, the folder, the memory: as a whole."""

    def exists(self) -> bool:
        """Whether the bucket or folder is there."""
        ...

    def create(self) -> None:
        """Make the bucket or folder; no error when it is there already."""
        ...

    def describe(self) -> StoreDescription:
        """Look up what is known of it; changes nothing.

        Raises:
            RepositoryNotFoundError: it is not there.
        """
        ...


def admin_of(store: ObjectStore) -> StoreAdmin:
    """The administration of the place behind ``store``, found through its decorators (their ``inner``)."""
    found: object = store
    while not isinstance(found, StoreAdmin):
        if not hasattr(found, "inner"):
            raise StoreError(f"{store.address} cannot be created or described by this program")
        found = found.inner
    return found
