"""What `--only-state` and `--only-data` make of a topic on the target: refused, done already, or which settings it keeps."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mirror.core.coverage import PartitionCoverage
from mirror.core.restore_configs import final_configs, load_configs
from mirror.core.restore_conflicts import setting_notes
from mirror.core.restore_mark import RestoreMark
from mirror.core.restore_plan import TargetCluster, TargetTopic, TopicPlan, TopicState
from mirror.core.restore_scope import RestoreScope
from mirror.core.restore_selection import RestoreSelection
from mirror.errors import RefusedError

__all__ = ["refuse_absent", "scoped"]


def scoped(
    plan: TopicPlan, selection: RestoreSelection, target: TargetCluster, *, of_settings: tuple[str, ...], now_ms: int
) -> TopicPlan:
    """A topic's plan as the scope of the restore wants it; ``of_settings`` are notes on partitions and settings.

    Raises:
        RefusedError: it cannot be done to what is on the target.
    """
    name = plan.target_topic
    if selection.scope is RestoreScope.DATA:
        return _with_own_settings(plan, target, selection.kept_configs, now_ms)
    if selection.scope is RestoreScope.STATE:
        state = _state_for_settings(name, target.alias, plan.state, target.topics.get(name), plan.final_configs)
        return replace(plan, state=state, load_configs={}, notes=of_settings)
    told = _told(plan, plan.final_configs, target, now_ms)
    return replace(plan, notes=(*of_settings, *plan.notes, *told))


def _coverages(plan: TopicPlan) -> list[PartitionCoverage]:
    return [partition.coverage for partition in plan.partitions if partition.coverage is not None]


def _told(plan: TopicPlan, configs: Mapping[str, str], target: TargetCluster, now_ms: int) -> list[str]:
    return setting_notes(configs, _coverages(plan), default_configs=target.default_configs, now_ms=now_ms)


def _with_own_settings(
    plan: TopicPlan, target: TargetCluster, known: Mapping[str, Mapping[str, str]], now_ms: int
) -> TopicPlan:
    present = target.topics[plan.target_topic]
    own = _kept_settings(plan.target_topic, target.alias, present, known)
    coverages = [coverage for coverage in _coverages(plan) if coverage.runs]
    factor = present.replication_factor or plan.replication_factor
    _, held, _ = final_configs(
        own, coverages, replication_factor=factor, default_configs=target.default_configs, now_ms=now_ms
    )
    return replace(
        plan,
        replication_factor=factor,
        load_configs={**own, **load_configs(own, coverages, plan.mark)},
        final_configs={**own, **{hold.name: "-1" for hold in held}},
        held=held,
        notes=(*plan.notes, *_told(plan, own, target, now_ms)),
    )


def refuse_absent(names: Iterable[str], target: TargetCluster) -> None:
    """`--only-data` makes no topics.

    Raises:
        RefusedError: names those that the target does not have.
    """
    absent = sorted(set(names) - target.topics.keys())
    if absent:
        more = f" and {len(absent) - 20} more" if len(absent) > 20 else ""
        raise RefusedError(
            f"{target.alias} does not have {', '.join(absent[:20])}{more}, and --only-data makes no topics",
            hint="make them first, with the same command and --only-state instead, or leave out --only-data",
        )


def _state_for_settings(
    name: str, alias: str, state: TopicState, present: TargetTopic | None, final: Mapping[str, str]
) -> TopicState:
    """What there is of a topic of which only partitions and settings are restored.

    Raises:
        RefusedError: it is being loaded, or holds records and would get other settings, which might delete some.
    """
    if present is None:
        return state
    if state is TopicState.UNFINISHED:
        raise RefusedError(
            f"topic {name} on {alias} is being loaded by a restore", hint="finish that first, or delete the topic there"
        )
    if dict(present.configs) == final:
        return TopicState.COMPLETE
    if state is TopicState.FILLED:
        changes = ", ".join(
            f"{key} {present.configs.get(key, '(default)')} -> {final.get(key, '(default)')}"
            for key in sorted(present.configs.keys() | final.keys())
            if present.configs.get(key) != final.get(key)
        )
        on_hold = all(
            key.startswith("retention.") and present.configs.get(key) == "-1"
            for key in present.configs.keys() | final.keys()
            if present.configs.get(key) != final.get(key)
        )
        raise RefusedError(
            f"topic {name} on {alias} holds records, its settings are left alone; they would change: {changes}",
            hint=f"a restore left its retention on hold: `mirror holds list --target {alias}` shows it, `mirror holds release` puts it "
            "back; or leave the topic out: --exclude (its name at the source)"
            if on_hold
            else f"set them by hand, or leave the topic out: --exclude (its name at the source), or --rename TOPIC={name}-restored",
        )
    return state


def _kept_settings(
    name: str, alias: str, present: TargetTopic, known: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """The settings that a topic keeps when only data is restored: its own, or while it is being loaded those that a plan kept.

    Raises:
        RefusedError: it is being loaded, and nobody knows any more which settings it had.
    """
    if RestoreMark.read(present.configs) is None:
        return dict(present.configs)
    if name not in known:
        raise RefusedError(
            f"topic {name} on {alias} is being loaded, and the settings that it had are in the plan of that restore only",
            hint="go on with it: `mirror restore list`, `mirror restore resume ID`, or mirror restore --plan FILE; "
            "or delete the topic there and make it anew",
        )
    return dict(known[name])
