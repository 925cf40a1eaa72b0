"""`mirror check`, the repository: reachability, rights and behaviour of the store. Writes only if told to."""

import ssl
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime

from mirror.config import Config, RepositoryConfig
from mirror.errors import MirrorError, RepositoryNotFoundError
from mirror.service.check_lines import CheckLine, failed, ok, skipped, warned
from mirror.service.wiring import PERSON_ANSWER_SECONDS, store_for
from mirror.storage.administration import admin_of
from mirror.storage.object_store import ObjectStore
from mirror.storage.probing import probe
from mirror.storage.repository import open_repository
from mirror.storage.retrying import RetryingStore, RetryPolicy

__all__ = ["check_store", "clock_line"]

_AREA = "repository"
_PATIENCE = RetryPolicy(deadline_seconds=5.0)
_SKEW_WARN_S = 30.0
_SKEW_FAIL_S = 600.0
_LEAST_FREE_BYTES = 5 << 30


def check_store(
    config: Config, *, cluster_id: str | None, write_probe: bool | None, alias: str = ""
) -> list[CheckLine]:
    """All lines about a repository.

    Args:
        config: the configuration.
        cluster_id: of the source, where it is known: the repository must belong to it.
        write_probe: put, read and remove a tiny object below ``probe/``; None where nobody wants to write.
        alias: of the repository; empty for the worker's.
    """
    try:
        chosen = config.repository(alias or None)
        store: ObjectStore = RetryingStore(store_for(chosen, answer_seconds=PERSON_ANSWER_SECONDS), _PATIENCE)
    except MirrorError as error:
        return [failed(_AREA, error)]
    try:
        lines = _place(store)
        if not any(line.level == "fail" for line in lines):
            lines += _repository(store, cluster_id)
            if write_probe is not None:
                lines += _writing(store) if write_probe else [_not_proven()]
        if chosen.url.startswith("s3:"):
            lines += _clock(chosen)
        return lines
    finally:
        store.close()


def _place(store: ObjectStore) -> list[CheckLine]:
    try:
        place = admin_of(store)
        if not place.exists():
            error = RepositoryNotFoundError(f"{store.address} does not exist", hint="`mirror init` creates it")
            return [failed(_AREA, error)]
        described = place.describe()
    except MirrorError as error:
        return [failed(_AREA, error)]
    lines = [ok(_AREA, f"{store.address} is there ({described.kind})")]
    if described.expires_after_days is not None:
        lines.append(
            failed(
                _AREA,
                f"a lifecycle rule deletes objects after {described.expires_after_days} days",
                "remove the rule, or limit it to another prefix: it would delete the backup",
            )
        )
    if described.free_bytes is not None and described.free_bytes < _LEAST_FREE_BYTES:
        lines.append(warned(_AREA, f"only {described.free_bytes >> 20} MiB are free", "make room before it is full"))
    lines += [skipped(_AREA, note) for note in described.notes]
    return lines


def _repository(store: ObjectStore, cluster_id: str | None) -> list[CheckLine]:
    try:
        repository = open_repository(store)
        if cluster_id is not None:
            repository.require_cluster(cluster_id)
        newest = list(repository.store.list_folders("l0/"))
    except MirrorError as error:
        return [failed(_AREA, error)]
    identity = repository.identity
    days = f"{len(newest)} days of objects" if newest else "empty so far"
    return [
        ok(_AREA, f"repository {identity.repository_id} of cluster {identity.cluster_id}, {days}"),
        ok("rights", "get and list in the repository"),
    ]


def _not_proven() -> CheckLine:
    return skipped(
        "rights", "put in the repository: not proven, nothing was written", "`mirror check --write-probe` tries it"
    )


def _writing(store: ObjectStore) -> list[CheckLine]:
    try:
        seen = probe(store)
    except MirrorError as error:
        return [failed("rights", error, "the worker's key needs put, get and list on the repository")]
    lines = [ok("rights", "put in the repository (an object below probe/ was written and read)")]
    if not (seen.reads_its_writes and seen.lists_its_writes):
        lines.append(
            failed(
                _AREA, "an object is not readable or not listed right after its put", "mirror needs a consistent store"
            )
        )
    if not seen.suffix_ranges:
        lines.append(failed(_AREA, "the store does not serve the tail of an object", "mirror needs ranged reads"))
    if not seen.create_only:
        lines.append(warned(_AREA, "the store ignores create-only puts", "run `mirror init` from one place at a time"))
    if seen.left_behind is not None:
        lines.append(ok("rights", f"no right to delete, as it should be; {seen.left_behind} was left behind"))
    elif seen.can_delete:
        lines.append(warned("rights", "the key may delete objects", "a worker needs only put, get and list"))
    return lines


def _clock(chosen: RepositoryConfig) -> list[CheckLine]:
    if not chosen.endpoint:
        return []
    try:
        context = ssl.create_default_context(cafile=chosen.ca_file) if chosen.endpoint.startswith("https") else None
        request = urllib.request.Request(chosen.endpoint, method="HEAD")  # noqa: S310 - http(s) by the configuration's rules
        begun = time.time()
        try:
            with urllib.request.urlopen(request, timeout=5.0, context=context) as answer:  # noqa: S310
                date = answer.headers["Date"]
        except urllib.error.HTTPError as error:
            date = error.headers["Date"]
        middle = (begun + time.time()) / 2
        theirs = parsedate_to_datetime(date).timestamp() + 0.5  # whole seconds: half of one is the best guess
    except (OSError, ValueError, TypeError):
        return [skipped("clock", "the store does not tell its time")]
    return [clock_line(middle - theirs)]


def clock_line(ahead_s: float) -> CheckLine:
    """Judge how far this machine's clock is ahead of the store's, in seconds."""
    message = f"this machine's clock and the store's differ by {abs(ahead_s):.0f} s"
    if abs(ahead_s) >= _SKEW_FAIL_S:
        return failed("clock", message, "set the clock (NTP): S3 refuses requests that are 15 minutes off")
    if abs(ahead_s) >= _SKEW_WARN_S:
        return warned("clock", message, "set the clock (NTP): objects are named by time, and ages are computed from it")
    return ok("clock", message)
