"""config/alerts.yml against the metrics of a worker, by the text: a rule on a metric that is not there never fires."""

import re
from pathlib import Path

import pytest

from mirror.metrics import WorkerMetrics

ALERTS = (Path(__file__).resolve().parents[2] / "config" / "alerts.yml").read_text()
RULES = re.split(r"\n\s*- alert: ", ALERTS)[1:]
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def _exposed_names() -> set[str]:
    families = list(WorkerMetrics().registry.collect())
    return {family.name + suffix for family in families for suffix in _SUFFIXES[family.type]}


def _expression(rule: str) -> str:
    found = re.search(r"expr: (?:>-\n)?(.*?)\n\s*(?:for|labels):", rule, re.DOTALL)
    assert found is not None
    return found[1]


def _name(rule: str) -> str:
    return rule.partition("\n")[0]


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_every_metric_of_a_rule_is_exposed(rule: str) -> None:
    """Each name in an expression is one that /metrics prints, with its suffix."""
    names = set(re.findall(r"\bmirror_\w+", _expression(rule)))
    assert names or "up{" in rule
    assert names <= _exposed_names()


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_every_rule_says_what_to_do(rule: str) -> None:
    """Somebody who is woken up gets a sentence and a next step."""
    assert re.search(r"severity: (page|ticket)", rule)
    assert re.search(r"summary: .{20,}", rule)
    assert re.search(r"next: .{10,}", rule)


def test_rules_grouped_by_topic_use_metrics_that_have_that_label() -> None:
    """`by (topic)` on a metric without topics would give one series without a name."""
    metrics = WorkerMetrics()
    for gauge in (metrics.retention_headroom_seconds, metrics.blocked_seconds):
        gauge.labels("orders", "0").set(1)
    page = metrics.render().decode()
    for name in re.findall(r"by \([^)]*\) \((mirror_\w+)\)", ALERTS):
        assert f'{name}{{partition="0",topic="orders"}}' in page or f'{name}{{topic="orders",partition="0"}}' in page


def test_what_must_wake_somebody_up_has_a_rule() -> None:
    """Recovery point, headroom, gap, fork, worker, store, events, quarantine, open transaction."""
    expected = {
        "mirror_worst_recovery_point_age_seconds",
        "mirror_retention_headroom_seconds",
        "mirror_gap_count_total",
        "mirror_fork_count_total",
        "mirror_store_failing_seconds",
        "mirror_unsent_event_count",
        "mirror_partitions",
        "mirror_blocked_by_transaction_seconds",
    }
    assert expected <= set(re.findall(r"\bmirror_\w+", "\n".join(map(_expression, RULES))))
    assert "absent(up" in ALERTS
