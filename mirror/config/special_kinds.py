"""Kinds of values that know this product: addresses, topic patterns, secrets."""

# ruff: noqa: TRY004  (a refusal is a ValueError, whatever its reason)

import re
from urllib.parse import SplitResult, urlsplit

from mirror.config.kinds import Kind, Place, Text
from mirror.config.secrets import Secret
from mirror.core.topic_filter import problem_of_glob, problem_of_regex

__all__ = ["BrokerAddress", "SecretValue", "TopicGlob", "TopicRegex", "Url"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_IP_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}", re.ASCII)
_BROKER = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", re.ASCII)


def _is_bucket(name: str) -> bool:
    """Whether S3 takes the name: neither an IP address nor with two dots in a row."""
    return bool(_BUCKET.fullmatch(name)) and ".." not in name and not _IP_ADDRESS.fullmatch(name)


class TopicGlob(Text):
    """A topic name or glob."""

    def parse(self, raw: object, place: Place) -> str:
        """The pattern itself."""
        pattern = super().parse(raw, place)
        if problem := problem_of_glob(pattern):
            raise ValueError(problem)
        return pattern


class TopicRegex(Text):
    """A regular expression for whole topic names."""

    def parse(self, raw: object, place: Place) -> str:
        """The expression itself."""
        pattern = super().parse(raw, place)
        if problem := problem_of_regex(pattern):
            raise ValueError(problem)
        return pattern


class BrokerAddress(Text):
    """``host:port``."""

    def parse(self, raw: object, place: Place) -> str:
        """The address itself."""
        address = super().parse(raw, place)
        match = _BROKER.fullmatch(address)
        if match is None or not 1 <= int(match[2]) <= 65535:
            raise ValueError("it is not host:port")
        return address


class Url(Kind):
    """An absolute URL of one of some schemes; credentials, queries and fragments in it are refused.

    ``path`` says whether the path after the host may be there; a ``file`` URL has only a path.
    """

    def __init__(self, accepts: str, *, schemes: tuple[str, ...], path: bool = True, empty: bool = False) -> None:
        self.accepts = accepts
        self._schemes = schemes
        self._path = path
        self._empty = empty

    def parse(self, raw: object, place: Place) -> str:
        """The URL without a slash at its end."""
        if not isinstance(raw, str):
            raise ValueError("it is not a text")
        if not raw and self._empty:
            return raw
        if any(ord(char) <= 32 or ord(char) == 127 for char in raw):
            raise ValueError("it holds a space or a control character")
        url = urlsplit(raw)
        if url.scheme not in self._schemes or f"{url.scheme}://" != raw[: len(url.scheme) + 3]:
            raise ValueError
        if problem := self._problem(url):
            raise ValueError(problem)
        return raw.rstrip("/") if url.path not in ("", "/") or url.scheme != "file" else raw

    def may_hold_credentials(self, raw: object) -> bool:
        """Whether the text must not be repeated in a message, because a user name and password may be in it."""
        return isinstance(raw, str) and "@" in raw

    def _problem(self, url: SplitResult) -> str | None:
        if "@" in url.netloc:
            return "credentials do not belong in a URL; they have their own settings"
        if url.query or url.fragment:
            return "it has a query or a fragment"
        if url.scheme == "file":
            if url.netloc:
                return "a file URL has three slashes: file:///path"
            return None if url.path.strip("/") else "it names no folder"
        if not url.hostname:
            return "it names no bucket" if url.scheme == "s3" else "it names no host"
        if url.scheme == "s3" and ":" not in url.netloc and not _is_bucket(url.netloc):
            return (
                f"{url.netloc!r} is not the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit "
                "at both ends"
            )
        try:
            if url.port is not None and url.scheme == "s3":
                return "an s3 URL names a bucket, not a host; the host belongs in endpoint"
        except ValueError:
            return "its port is not a number from 1 to 65535"
        return None if self._path or url.path in ("", "/") else "it has a path"


class SecretValue(Kind):
    """``{ env = "NAME" }`` or ``{ file = "path" }``; in an environment variable: the value itself.

    ``literal`` allows a text in the file as well, for identifiers that are not secret.
    """

    secret = True

    def __init__(self, *, literal: bool = False) -> None:
        self._literal = literal
        self.accepts = '{ env = "NAME" } or { file = "path" }' + (" or a text" if literal else "")

    def parse(self, raw: object, place: Place) -> Secret:
        """The place of the secret; nothing is read yet."""
        if isinstance(raw, str) and self._literal:
            if not raw:
                raise ValueError("it is empty")
            return Secret.plain(raw)
        if not isinstance(raw, dict):
            raise ValueError(
                "a secret is not written into the configuration file: name the variable or the file that holds it"
            )
        if len(raw) != 1 or not {"env", "file"} >= raw.keys():
            raise ValueError("it has to name exactly one of env and file")
        ((where, name),) = raw.items()
        if not isinstance(name, str) or not name or "\0" in name or (where == "env" and "=" in name):
            raise ValueError(f"{where} has to be a {'variable name' if where == 'env' else 'path'}")
        if where == "env":
            return Secret.from_env(name, place.environ)
        return Secret.from_file(place.folder / name)

    def show(self, value: Secret) -> str:
        """The mask, or the identifier where the file holds it literally."""
        return value.shown
