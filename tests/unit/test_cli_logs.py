"""Log lines hold neither secrets nor record contents, and JSON lines are JSON whatever is logged."""

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.cli.logs import JsonFormatter, TextFormatter, setup_logging
from mirror.config import Secret

VALUE = 'hunter2"of/logs'


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log goes; the logging of the test run is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def record(message: object, *args: object, **extra: object) -> logging.LogRecord:
    """A log record as a logger would make it."""
    return logging.getLogger("mirror.x").makeRecord(
        "mirror.x", logging.INFO, __file__, 1, message, args, None, extra=extra
    )


def test_json_line(stream: io.StringIO) -> None:
    """A line has UTC time, level, logger, message and the extra fields."""
    setup_logging("json", "info", stream=stream)
    logging.getLogger("mirror.x").warning("flushed %d runs", 3, extra={"topic": "orders", "partition": 7})
    logging.getLogger("mirror.x").debug("not this")
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("ts").endswith("Z")
    assert fields == {
        "level": "warning",
        "logger": "mirror.x",
        "message": "flushed 3 runs",
        "topic": "orders",
        "partition": 7,
    }


def test_text_line_cannot_be_forged() -> None:
    """Line breaks in a message do not begin a new line."""
    line = TextFormatter().format(record("topic %s", "a\n2026-01-01T00:00:00Z ERROR forged", size=3))
    assert len(line.splitlines()) == 1
    assert line.endswith("size=3")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_secrets_are_masked_everywhere(formatter: logging.Formatter) -> None:
    """In the message, the arguments, the extra fields and the traceback."""
    value = Secret.from_env("S", {"S": VALUE}).reveal()
    entry = record(f"a {value} %s", value, field={"deep": [value]}, other=value)
    entry.exc_info = (ValueError, ValueError(f"denied: {value}"), None)
    line = formatter.format(entry)
    assert "hunter2" not in line
    assert line.count("****") >= 5
    assert "ValueError: denied" in line


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
@pytest.mark.parametrize("content", [b"card 4111", bytearray(b"card 4111"), memoryview(b"card 4111"), [b"card 4111"]])
def test_bytes_become_their_length(formatter: logging.Formatter, content: object) -> None:
    """Contents of records are bytes, and no bytes are logged."""
    line = formatter.format(record("got %r", content, value=content, nested={"k": content}))
    assert "4111" not in line
    assert line.count("<9 bytes>") == 3


def test_a_number_like_secret_does_not_break_json() -> None:
    """Redaction touches strings only, so that a secret such as 9092 leaves numbers and syntax alone."""
    Secret.from_env("S", {"S": "90921"}).reveal()
    assert json.loads(JsonFormatter().format(record("port %d", 90921, port=90921)))["port"] == 90921


def test_client_debug_logs_stay_off(stream: io.StringIO) -> None:
    """The Kafka client writes whole answers at DEBUG: not even --log-level debug turns that on."""
    setup_logging("text", "debug", stream=stream)
    logging.getLogger("aiokafka.conn").debug("Response %s", "records")
    logging.getLogger("mirror.x").debug("ours")
    assert "records" not in stream.getvalue()
    assert "ours" in stream.getvalue()


@pytest.mark.parametrize(
    "name", ["faust.transport.consumer", "mode.supervisors", "aiokafka.consumer.group_coordinator"]
)
def test_the_machinery_is_quiet_unless_everything_is_asked_for(name: str, stream: io.StringIO) -> None:
    """Faust and the Kafka client from WARNING on, our own lines from INFO on; with debug all of them."""
    setup_logging("text", "info", stream=stream)
    for logger in (name, "agents.worker", "mirror.service"):
        logging.getLogger(logger).info("about %s", logger)
    logging.getLogger(name).warning("it is odd")
    logging.getLogger("agents.app").info("[^-MirrorApp]: Starting...")
    logging.getLogger("agents.app").error("[^-MirrorApp]: Crashed")
    assert f"about {name}" not in stream.getvalue()
    assert "Starting" not in stream.getvalue()
    assert "Crashed" in stream.getvalue()
    assert "about agents.worker" in stream.getvalue()
    assert "about mirror.service" in stream.getvalue()
    assert "it is odd" in stream.getvalue()
    setup_logging("text", "debug", stream=stream)
    logging.getLogger(name).info("about %s", name)
    logging.getLogger("agents.app").info("[^-MirrorApp]: Starting...")
    assert "Starting" in stream.getvalue()
    assert f"about {name}" in stream.getvalue()


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(_ANY, st.text())
def test_any_field_is_one_json_line(value: object, message: str) -> None:
    """Whatever is logged becomes one line of JSON."""
    make: Callable[[logging.LogRecord], str] = JsonFormatter().format
    line = make(record(message.replace("%", ""), field=value))
    assert "\n" not in line
    assert json.loads(line)["logger"] == "mirror.x"
