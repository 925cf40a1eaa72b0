"""The right name nearest to a wrong one, for messages."""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, right_names: Iterable[str]) -> str | None:
    """The most similar of the right names, if one is similar; case does not matter."""
    by_folded = {right.casefold(): right for right in right_names}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, right_names: Iterable[str]) -> str:
    """The end of a message: ``; did you mean 'x'?``, else the names there are."""
    names = sorted(right_names)
    if found := nearest(name, names):
        return f"; did you mean {found}?"
    return f"; there is {', '.join(names)}" if names else "; there is none"
