"""One question to the leaders of many partitions, asked again where a leader moves."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar

from mirror.core.positions import TopicPartition
from mirror.errors import MirrorError, TopicNotFoundError
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import RETRIABLE_CODES, kafka_error_to_ours
from mirror.kafka.leaders import Leader, Leaders

__all__ = ["ASK_AGAIN_CODES", "ask_leaders"]

T = TypeVar("T")

ASK_AGAIN_CODES: Final = frozenset({3, 100, *RETRIABLE_CODES})
"""3 and 100 too: the metadata knew the topic a moment ago, so its leader is still about to learn of it (or it is being
deleted, which the next look at the metadata tells)."""

_RETRY_FOR_S: Final = 30.0
_RETRY_EVERY_S: Final = 0.2


async def ask_leaders(
    client: MirrorClient,
    tps: Iterable[TopicPartition],
    what: str,
    ask_leader: Callable[[int, dict[TopicPartition, Leader]], Awaitable[Mapping[TopicPartition, T | MirrorError]]],
    *,
    retry_for_s: float = _RETRY_FOR_S,
) -> dict[TopicPartition, T]:
    """Ask every leader for its partitions; again, with new leaders, for those whose error is transient.

    Args:
        client: an open client.
        tps: the partitions.
        what: the question, for messages: ``log end``.
        ask_leader: asks one broker for some partitions; an error in its answer concerns that partition only.
        retry_for_s: how long transient errors are borne with.

    Raises:
        MirrorError: the first one that is not transient, or that outlasts the time; naming the partition.
    """
    leaders, loop = Leaders(client), asyncio.get_running_loop()
    give_up_at = loop.time() + retry_for_s
    todo, done = set(tps), dict[TopicPartition, T]()
    while todo:
        errors: list[MirrorError] = []
        by_node: dict[int, dict[TopicPartition, Leader]] = {}
        await leaders.refresh({tp.topic for tp in todo})
        for tp in todo:
            leader = leaders.get(tp)
            if leader is None:
                error = leaders.error(tp)
                if not error.transient:
                    raise error
                errors.append(error)
            else:
                by_node.setdefault(leader.node_id, {})[tp] = leader
        answers = await asyncio.gather(
            *(_one_broker(node_id, part, what, ask_leader) for node_id, part in by_node.items())
        )
        for answer in answers:
            for tp, result in answer.items():
                if isinstance(result, MirrorError):
                    errors.append(result)
                else:
                    done[tp] = result
                    todo.discard(tp)
        for error in errors:
            # A leader that does not know a topic which the metadata knew a moment ago is about to learn of it.
            may_pass = error.transient or isinstance(error, TopicNotFoundError)
            if not may_pass or loop.time() > give_up_at:
                raise error
        if todo:
            await asyncio.sleep(_RETRY_EVERY_S)
    return done


async def _one_broker(
    node_id: int,
    part: dict[TopicPartition, Leader],
    what: str,
    ask_leader: Callable[[int, dict[TopicPartition, Leader]], Awaitable[Mapping[TopicPartition, T | MirrorError]]],
) -> dict[TopicPartition, T | MirrorError]:
    try:
        answer = await ask_leader(node_id, part)
    except MirrorError as error:
        return dict.fromkeys(part, error)
    silent = kafka_error_to_ours(-1, f"{what} from broker {node_id}", "a partition is missing in its answer")
    return {tp: answer.get(tp, silent) for tp in part}
