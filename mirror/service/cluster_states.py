"""The captures of a cluster's state in a repository: putting, listing, reading that of a moment."""

from mirror.core.cluster_state import ClusterState
from mirror.core.keys import STATE_PREFIX, format_state_key, parse_state_key
from mirror.core.moments import format_moment
from mirror.core.segment.index import decode_checked, encode_checked
from mirror.errors import DamageError, NoMatchError, RefusedError
from mirror.storage.repository import Repository

__all__ = ["list_states", "put_state", "read_state", "state_at"]


def put_state(repository: Repository, state: ClusterState) -> None:
    """Store one capture.

    Raises:
        AccessError, UnreachableError, StoreError: the store.
        ObjectExistsError: another one of the same millisecond is there.
    """
    repository.store.put_new(format_state_key(state.captured_at_ms), encode_checked(state))


def list_states(repository: Repository, *, since_ms: int = 0) -> list[int]:
    """When captures were made, ascending; foreign objects are passed over (`mirror verify` names them).

    Raises:
        AccessError, UnreachableError, StoreError: the store.
    """
    found = []
    for info in repository.store.list(STATE_PREFIX, after=format_state_key(since_ms - 1) if since_ms > 0 else ""):
        try:
            found.append(parse_state_key(info.key))
        except DamageError:
            continue
    return found


def read_state(repository: Repository, captured_at_ms: int) -> ClusterState:
    """Read one.

    Raises:
        DamageError: it is not what was written.
        AccessError, UnreachableError, StoreError, ObjectNotFoundError: the store.
    """
    name = format_state_key(captured_at_ms)
    state = decode_checked(ClusterState, repository.store.get(name), name)
    if state.captured_at_ms != captured_at_ms or state.repository_id != repository.identity.repository_id:
        raise DamageError(f"{name}: holds another capture, or one of another repository: objects were swapped")
    return state


def state_at(repository: Repository, at_ms: int | None = None) -> ClusterState:
    """The newest capture, or that which held at ``at_ms``: a capture holds until the next one.

    Raises:
        NoMatchError: nothing was ever captured.
        RefusedError: nothing was captured by then; names the first moment that is known.
        DamageError, AccessError, UnreachableError, StoreError: see :func:`read_state`.
    """
    known = list_states(repository)
    if not known:
        raise NoMatchError(
            "no state of the cluster is stored",
            hint="a worker captures it within minutes of its start: is one running?",
        )
    until = [captured_at_ms for captured_at_ms in known if at_ms is None or captured_at_ms <= at_ms]
    if not until:
        raise RefusedError(
            f"at {format_moment(at_ms or 0)} the cluster's state was not captured yet",
            hint=f"the first moment that is known: --at {format_moment(known[0])}",
        )
    return read_state(repository, until[-1])
