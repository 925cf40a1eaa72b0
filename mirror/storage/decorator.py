"""What the decorating stores have in common: an inner store whose address and end are theirs."""

from mirror.storage.object_store import ObjectStore

__all__ = ["StoreDecorator"]


class StoreDecorator:
    """Holds ``inner``; gives its address; closing closes it."""

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner

    @property
    def inner(self) -> ObjectStore:
        """The decorated store."""
        return self._inner

    @property
    def address(self) -> str:
        """The decorated store's address."""
        return self._inner.address

    def close(self) -> None:
        """Close the decorated store."""
        self._inner.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inner!r})"
