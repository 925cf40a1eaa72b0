"""Opening a repository for a command, saying on stderr what is waited for."""

from collections.abc import Iterator
from contextlib import contextmanager

from mirror.cli.context import CliContext
from mirror.cli.progress import waiting
from mirror.service.wiring import open_configured_repository
from mirror.storage.repository import Repository

__all__ = ["open_for", "waiting_for"]


def open_for(cli: CliContext, alias: str = "", *, goes_on: bool = False) -> Repository:
    """The configured repository; see :func:`mirror.service.wiring.open_configured_repository`."""
    chosen = cli.config().repository(alias or None)
    where = f"{chosen.url} at {chosen.endpoint}" if chosen.endpoint else chosen.url
    with waiting(f"the store {where}", quiet=cli.as_json):
        return open_configured_repository(cli.config(), alias, goes_on=goes_on)


@contextmanager
def waiting_for(cli: CliContext, repository: Repository, *others: str) -> Iterator[None]:
    """Say after two seconds that the answers of the repository, and of ``others``, are waited for."""
    with waiting(" and ".join([f"the store {repository.address}", *others]), quiet=cli.as_json):
        yield
