"""A stock Faust agent, one event per record, that only counts. `python -m bench.sides.faust_agent JSON`."""

import json
import os
import sys
import time
from typing import Any

import faust

__all__ = ["make_counting_app"]


def make_counting_app(bootstrap: str, topic: str, records: int, data_dir: str, group: str) -> faust.App:
    """An app that prints its result and ends the process when that many records have come."""
    app = faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        value_serializer="raw",
        key_serializer="raw",
        consumer_auto_offset_reset="earliest",
        store="memory://",
        datadir=data_dir,
        web_enabled=False,
        topic_disable_leader=True,
        worker_redirect_stdouts=False,
    )
    source = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    @app.agent(source)  # type: ignore[untyped-decorator]
    async def count(stream: Any) -> None:
        seen = 0
        first_s = 0.0
        async for _value in stream:
            if not seen:
                first_s = time.time()
            seen += 1
            if seen == records:
                result = {"begin_s": first_s, "finish_s": time.time(), "records": seen}
                os.write(1, b"\n" + json.dumps(result).encode())  # sys.stdout may be Faust's by now
                os._exit(0)

    return app


if __name__ == "__main__":
    app = make_counting_app(**json.loads(sys.argv[1]))
    faust.Worker(app, loglevel="ERROR", quiet=True).execute_from_commandline()
