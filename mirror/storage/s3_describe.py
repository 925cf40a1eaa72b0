"""What a bucket says of itself, as far as the credentials may ask."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from minio.error import S3Error

from mirror.errors import AccessError, StoreError
from mirror.storage.administration import StoreDescription

__all__ = ["describe_bucket"]

_NONE_SET = {"ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration", "NoSuchLifecycleConfiguration"}

Mapped = Callable[[str, str], AbstractContextManager[None]]


def describe_bucket(client: Any, bucket: str, mapped: Mapped) -> StoreDescription:
    """Versioning, object lock and the shortest expiry of ``bucket``.

    A look-up that the credentials may not make, or the store does not know, becomes a note; a store that does not answer is an error.
    """
    notes: list[str] = []

    def ask(operation: str, look_up: Callable[[], Any]) -> Any:
        try:
            with mapped(operation, ""):
                try:
                    return look_up()
                except S3Error as error:
                    if error.code in _NONE_SET:
                        return False
                    raise
        except (AccessError, StoreError) as error:
            if error.transient:
                raise
            notes.append(f"{operation} cannot be told: {error.message}")
            return None

    versioning = ask("versioning", lambda: client.get_bucket_versioning(bucket).status == "Enabled")
    object_lock = ask("object_lock", lambda: client.get_object_lock_config(bucket) is not None)
    lifecycle = ask("lifecycle", lambda: client.get_bucket_lifecycle(bucket))
    days = [
        rule.expiration.days
        for rule in (lifecycle.rules if lifecycle else [])
        if rule.status == "Enabled" and rule.expiration is not None and rule.expiration.days is not None
    ]
    return StoreDescription(
        kind="s3",
        versioning=versioning,
        object_lock=object_lock,
        expires_after_days=min(days) if days else None,
        notes=tuple(notes),
    )
