"""What a worker answers over HTTP: metrics, health, and the tables of last backed-up offsets and of consumer groups."""

from typing import Any

from agents.app import MirrorApp
from agents.gauges import Gauges
from agents.group_table import groups_answer
from agents.health import Health
from agents.ledger import ledger_key
from mirror.core.positions import PartitionId
from mirror.metrics import WorkerMetrics

__all__ = ["add_pages"]

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def add_pages(app: MirrorApp, metrics: WorkerMetrics, gauges: Gauges, health: Health, repository_id: str) -> None:
    """Register all pages; call it before the app starts."""

    @app.page("/metrics")
    async def metrics_page(web: Any, request: Any) -> Any:
        gauges.update()
        return web.bytes(metrics.render(), content_type=_PROMETHEUS.partition(";")[0])

    @app.page("/healthz")
    async def healthz(web: Any, request: Any) -> Any:
        return _answer(web, health.dead())

    @app.page("/readyz")
    async def readyz(web: Any, request: Any) -> Any:
        return _answer(web, health.unready())

    @app.page("/v1/positions")
    async def positions(web: Any, request: Any) -> Any:
        """Every row of the table: what is safe, up to where."""
        rows = [dict(row) for _, row in sorted(app.ledger.items())]
        topic = request.query.get("topic")
        return web.json({"positions": [row for row in rows if topic is None or row["topic"] == topic]})

    @app.page("/v1/positions/{topic_id}/{partition}")
    async def position(web: Any, request: Any, topic_id: str, partition: str) -> Any:
        """One row."""
        row = app.ledger.get(ledger_key(PartitionId(topic_id, int(partition)))) if partition.isdecimal() else None
        if row is None:
            return web.json({"error": f"nothing is known of {topic_id}-{partition}"}, status=404)
        return web.json(dict(row))

    @app.page("/v1/groups")
    async def groups(web: Any, request: Any) -> Any:
        """Where consumer groups stand, as far as it is stored."""
        return web.json(groups_answer(app.groups, repository_id, request.query.get("group")))


def _answer(web: Any, problems: list[str]) -> Any:
    status = 503 if problems else 200
    return web.json({"status": "ok" if not problems else "failing", "problems": problems}, status=status)
