"""`mirror init`: the bucket or folder, and the repository in it, for the source cluster."""

import time
from dataclasses import dataclass
from importlib.metadata import version

from mirror.config import Config
from mirror.errors import RepositoryNotFoundError
from mirror.kafka.client import open_client
from mirror.kafka.cluster import describe_cluster
from mirror.service.wiring import PERSON_ANSWER_SECONDS, PERSON_PATIENCE, connection_for, store_for
from mirror.storage.administration import admin_of
from mirror.storage.repository import Repository, create_repository, open_repository
from mirror.storage.retrying import RetryingStore

__all__ = ["InitResult", "init_repository"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InitResult:
    """What was there and what was made."""

    repository: Repository
    made_place: bool
    made_repository: bool


async def init_repository(config: Config, alias: str = "") -> InitResult:
    """Make the bucket or folder if there is none, and the repository if there is none. Doing it again changes nothing.

    Raises:
        WrongRepositoryError: the repository that is there belongs to another cluster.
        AccessError: no right to create the bucket, or to write.
        UnreachableError: store or cluster does not answer.
    """
    async with await open_client(connection_for(config.source_cluster)) as client:
        cluster_id = (await describe_cluster(client, ())).cluster_id
    chosen = config.repository(alias or None)
    store = RetryingStore(store_for(chosen, answer_seconds=PERSON_ANSWER_SECONDS), PERSON_PATIENCE)
    place = admin_of(store)
    made_place = not place.exists()
    if made_place:
        place.create()
    try:
        repository, made = open_repository(store), False
        repository.require_cluster(cluster_id)
    except RepositoryNotFoundError:
        repository = create_repository(
            store,
            cluster_id=cluster_id,
            created_at_ms=time.time_ns() // 1_000_000,
            created_by=f"mirror {version('mirror')}",
        )
        made = True
    return InitResult(repository=repository, made_place=made_place, made_repository=made)
