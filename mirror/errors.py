"""Every error a user can meet, as one tree.

::

    MirrorError                          exit 1
    ├── UsageError                       exit 2   the command line asks for something impossible
    │   ├── ConfigError                           a configuration file or variable is wrong
    │   └── NoMatchError                          the filters select nothing
    ├── PartialError                     exit 3   some of the work is done; the same command resumes it
    ├── RefusedError                     exit 4   a decision is needed; nothing was changed
    ├── DamageError                      exit 5   stored bytes are not what was written, or two sides differ
    │   ├── BatchDamageError                      a record batch violates its own CRC or structure
    │   └── UnreadableRunsError                   runs of segment objects cannot be read; says which
    ├── ObjectiveMissedError             exit 6   status: an objective is missed or something is unprotected
    ├── RepositoryNotFoundError          exit 10  no repository (or no bucket) where one was expected
    ├── WrongRepositoryError             exit 11  a repository of another cluster
    │   └── UnsupportedFormatError                a format version or required feature this version does not know
    ├── AccessError                      exit 12  credentials or rights
    ├── UnreachableError                 exit 13  no answer from a broker or the store   (transient)
    ├── InterruptedByUserError           exit 130 Ctrl-C; the same command resumes it
    ├── StoreError                       exit 1   the store answered, but not with success
    │   ├── ObjectNotFoundError
    │   ├── ObjectExistsError
    │   └── StoreBusyError                        throttled, full, or an internal error of the store (transient)
    └── ClusterError                     exit 1   a broker answered, but not with success
        ├── TopicNotFoundError
        └── ClusterBusyError                      leader moving, not enough replicas, … (transient)

``transient`` says whether the same call may succeed later without anybody changing anything.
"""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

__all__ = [
    "AccessError",
    "BatchDamageError",
    "ClusterBusyError",
    "ClusterError",
    "ConfigError",
    "DamageError",
    "InterruptedByUserError",
    "MirrorError",
    "NoMatchError",
    "ObjectExistsError",
    "ObjectNotFoundError",
    "ObjectiveMissedError",
    "PartialError",
    "RefusedError",
    "RepositoryNotFoundError",
    "StoreBusyError",
    "StoreError",
    "TopicNotFoundError",
    "UnreachableError",
    "UnreadableRun",
    "UnreadableRunsError",
    "UnsupportedFormatError",
    "UsageError",
    "WrongRepositoryError",
]


class MirrorError(Exception):
    """Root of the tree.

    Args:
        message: one sentence, what is wrong and where; never contains a secret.
        hint: the next step, as a command or a setting where there is one.
    """

    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MirrorError):
    """The command line asks for something that cannot be done as said."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file or environment variable is wrong."""


class NoMatchError(UsageError, LookupError):
    """The filters select nothing: never an empty success."""


class PartialError(MirrorError):
    """Some of the work is done and safe; the same command resumes it."""

    exit_code = 3


class RefusedError(MirrorError):
    """A decision is needed from a person; nothing was changed."""

    exit_code = 4


class DamageError(MirrorError, ValueError):
    """Stored bytes are not what was written, or two sides that should be equal differ."""

    exit_code = 5


class BatchDamageError(DamageError):
    """A record batch violates its own CRC or structure."""


class UnreadableRun(NamedTuple):
    """A stored run whose bytes are gone or are not what was written: offsets ``[start_offset, next_offset)`` of one partition."""

    object_key: str
    topic: str
    topic_id: str
    partition: int
    start_offset: int
    next_offset: int


class UnreadableRunsError(DamageError):
    """Runs of segment objects cannot be read; all others of the same objects can, as far as they were asked for."""

    def __init__(self, message: str, *, runs: Iterable[UnreadableRun] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.runs = tuple(runs)

    @property
    def lost(self) -> str:
        """The offsets of these runs, the first few by name."""
        named = [
            f"offsets [{run.start_offset:,}, {run.next_offset:,}) of {run.topic}-{run.partition}"
            for run in self.runs[:5]
        ]
        return ", ".join(named) + (f" and {len(self.runs) - 5} ranges more" if len(self.runs) > 5 else "")


class ObjectiveMissedError(MirrorError):
    """A recovery objective is missed or something is unprotected."""

    exit_code = 6


class RepositoryNotFoundError(MirrorError, LookupError):
    """There is no repository (or no bucket) where one was expected."""

    exit_code = 10


class WrongRepositoryError(MirrorError):
    """The repository belongs to another cluster."""

    exit_code = 11


class UnsupportedFormatError(WrongRepositoryError):
    """A format version or required feature that this version of mirror does not know."""


class AccessError(MirrorError, PermissionError):
    """Credentials or rights are missing or wrong."""

    exit_code = 12


class UnreachableError(MirrorError, ConnectionError):
    """No answer from a broker or from the store."""

    exit_code = 13
    transient = True


class InterruptedByUserError(MirrorError):
    """A person interrupted the work; the same command resumes it."""

    exit_code = 130


class StoreError(MirrorError):
    """The store answered, but not with success."""


class ObjectNotFoundError(StoreError, LookupError):
    """The store has no object of that key."""


class ObjectExistsError(StoreError, FileExistsError):
    """A create-only put found an object of that key."""


class StoreBusyError(StoreError):
    """The store throttles, is full, or failed internally; the same call may succeed later."""

    transient = True


class ClusterError(MirrorError):
    """A broker answered, but not with success."""


class TopicNotFoundError(ClusterError, LookupError):
    """The cluster has no such topic, or no longer this incarnation of it."""


class ClusterBusyError(ClusterError):
    """The cluster cannot do it right now: leader moving, replicas missing, coordinator loading."""

    transient = True
