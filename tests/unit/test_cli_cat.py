"""`mirror cat` on a folder: what is printed, what is told on stderr, and the exit codes."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mirror.cli.__main__ import main
from mirror.cli.cat_summary import Heartbeat
from mirror.core.segment.index import GapEntry
from mirror.storage.folder import FolderStore
from tests.builders import T0_MS, TOPIC_ID, a_batch, a_repository, a_run_draft, a_segment, a_slice, a_tail

OTHER_ID = "BBBBBBBBBBBBBBBBBBBBBB"
_MAIN = "import sys; from mirror.cli.__main__ import main; sys.exit(main(sys.argv[1:]))"


class Folder:
    """A repository in a folder, and the command on it."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.config = path / "mirror.toml"
        self.config.write_text(f'[repositories.main]\nurl = "file://{path}/repository"\n')
        self.capsys = capsys
        self.store = FolderStore(str(path / "repository"))
        self.store.create()
        self.repository = a_repository(self.store)
        self.sequence = 0

    def put(
        self, *batches: bytes, start_offset: int = 0, topic_id: str = TOPIC_ID, partition: int = 0, **more: Any
    ) -> str:
        """One object of one run."""
        self.sequence += 1
        piece = a_slice(*batches, start_offset=start_offset, topic_id=topic_id, partition=partition)
        key, data, _ = a_segment(
            a_run_draft(piece),
            sealed_at_ms=T0_MS + self.sequence * 10_000,
            sequence=self.sequence,
            repository_id=self.repository.identity.repository_id,
            **more,
        )
        self.store.put(key, data)
        return key

    def cat(self, *args: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self.capsys.readouterr()
        code = main(["--config", str(self.config), "cat", *args])
        return code, *self.capsys.readouterr()


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    """Empty."""
    return Folder(tmp_path, capsys)


ODD = [
    a_tail(None, None),
    a_tail(b"null", b""),
    a_tail(b'"null"', b'""'),
    a_tail("größe".encode(), b'{"a":"\\n"}'),
    a_tail(b"\x1b[31m", "tab\tline\n\u200b\U000e0001".encode()),
    a_tail(b"\xff\x00", b"x\xfe", [(b"a", None), (b"a", b"null"), (b"b=c", b"\xff")]),
]


def test_a_line_a_record(folder: Folder) -> None:
    """Partition, offset, time, key, value, headers; no two records look alike, and no byte reaches the terminal raw."""
    folder.put(a_batch(5, 6, tails=ODD), start_offset=5)
    code, out, err = folder.cat("orders")
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[:3] for line in lines] == [["0", str(5 + n), f"2026-11-18T11:06:40.{5 + n:03d}Z"] for n in range(6)]
    assert [line[3:] for line in lines] == [
        ["null", "null"],
        ['"null"', '""'],
        ['\\"null"', '\\""'],
        ["größe", '{"a":"\\\\n"}'],
        ["\\x1b[31m", "tab\\tline\\n\\u200b\\U000e0001"],
        ["\\xff\\x00", "x\\xfe", "a=null", 'a="null"', "b\\x3dc=\\xff"],
    ]
    assert err.startswith("6 records · looked at 1 of 1 objects, 1 of 1 batches · ")


@pytest.mark.parametrize("args", [["--json"], ["--format", "json"], ["--json", "--format", "json"]])
def test_json_lines(folder: Folder, args: list[str]) -> None:
    """One object a record on stdout; bytes that are no text in base64; the counts as JSON on stderr."""
    folder.put(a_batch(5, 6, tails=ODD, append_time=T0_MS), start_offset=5)
    code, out, err = folder.cat("orders", *args)
    assert code == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert records[0] == {
        "topic": "orders",
        "partition": 0,
        "offset": 5,
        "timestamp": "2026-11-18T11:06:40.000Z",
        "timestamp_ms": T0_MS,
        "timestamp_type": "LogAppendTime",
        "key": None,
        "value": None,
        "headers": [],
    }
    assert [(r["key"], r["value"]) for r in records[1:4]] == [
        ("null", ""),
        ('"null"', '""'),
        ("größe", '{"a":"\\n"}'),
    ]
    assert (records[5]["key_base64"], records[5]["value_base64"]) == ("/wA=", "eP4=")
    assert "key" not in records[5]
    assert records[5]["headers"] == [["a", None], ["a", "null"], ["b=c", {"base64": "/w=="}]]
    summary = json.loads(err)
    assert summary["records"] == 6
    assert summary["read_bytes"] > 100
    assert (summary["objects"], summary["batches_in_all"], summary["damaged"], summary["lost"]) == (1, 1, [], [])


def test_hex(folder: Folder) -> None:
    """As hexdump shows it."""
    folder.put(a_batch(0, 1, tails=[a_tail(None, b"0123456789 \xff\x00abcdef", [(b"h", b"")])]))
    code, out, _ = folder.cat("orders", "--format", "hex")
    assert code == 0
    assert out.splitlines() == [
        "orders:0 offset 0 2026-11-18T11:06:40.000Z",
        "  key: null",
        "  value: 19 bytes",
        "  00000000  30 31 32 33 34 35 36 37  38 39 20 ff 00 61 62 63  |0123456789 ..abc|",
        "  00000010  64 65 66                                          |def|",
        "  header h: 0 bytes",
        "",
    ]


def test_what_is_asked_for(folder: Folder) -> None:
    """Every option narrows it down; the partition may also be said as `inspect` says it."""
    for partition in (0, 1):
        folder.put(a_batch(0, 10), partition=partition)

    def shown(*args: str) -> list[tuple[int, int]]:
        code, out, _ = folder.cat(*args, "--json")
        assert code == 0
        return [(r["partition"], r["offset"]) for r in map(json.loads, out.splitlines())]

    assert shown("orders:1", "--limit", "2") == [(1, 0), (1, 1)]
    assert len(shown("orders", "--partition", "0", "--partition", "1")) == 20
    assert shown("orders", "--partition", "0", "--from-offset", "9") == [(0, 9)]
    assert shown("orders", "--key", "key 3") == [(0, 3), (1, 3)]
    assert shown("orders:0", "--key", "key 3", "--grep", "val") == [(0, 3)]
    assert shown("orders:0", "--grep", "^key [12]$") == [(0, 1), (0, 2)]
    assert shown("orders:0", "--since", "2026-11-18T11:06:40.008Z") == [(0, 8), (0, 9)]
    assert shown("orders:0", "--until", "2026-11-18 12:06:40.001 +01:00") == [(0, 0), (0, 1)]
    assert shown("orders:0", "--since", f"@{T0_MS + 4}", "--until", f"@{T0_MS + 4}") == [(0, 4)]


@pytest.mark.parametrize("args", [["--key", "nope"], ["--from-offset", "99"], ["--since", "now"]])
def test_nothing_matches(folder: Folder, args: list[str]) -> None:
    """Is no success."""
    folder.put(a_batch(0, 10))
    code, out, err = folder.cat("orders", *args)
    assert (code, out) == (2, "")
    assert "no record matches" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--since", "2026-11-23T02:41:07"], "--since: '2026-11-23T02:41:07' has no zone"),
        (["--until", "2026-11-23"], "--until: '2026-11-23' has no time of day"),
        (["--since", "1h ago", "--until", "2h ago"], "no record can match"),
        (["--grep", "("], "not a regular expression"),
        (["--json", "--format", "hex"], "exclude each other"),
        (["--limit", "0"], "--limit"),
        (["--partition", "7"], "nothing is stored of orders:7"),
        (["--incarnation", "x"], "no incarnation x"),
    ],
)
def test_what_cannot_be(folder: Folder, args: list[str], message: str) -> None:
    """Exit 2, and nothing on stdout but the error."""
    folder.put(a_batch(0, 10))
    code, out, err = folder.cat("orders", *args)
    assert code == 2
    assert message in (out if "--json" in args else err)


def test_wrong_names(folder: Folder) -> None:
    """The nearest is named."""
    folder.put(a_batch(0, 10))
    code, _, err = folder.cat("ordesr")
    assert code == 2
    assert "hint: the nearest names: orders" in err
    assert folder.cat("or/ders")[0] == 2


def test_two_incarnations(folder: Folder) -> None:
    """Exit 4 with a table; the hint is a command that works."""
    folder.put(a_batch(0, 10))
    folder.put(a_batch(0, 3), topic_id=OTHER_ID)
    code, out, err = folder.cat("orders")
    assert (code, out) == (4, "")
    assert f"mirror cat orders --incarnation {OTHER_ID}" in err
    assert TOPIC_ID in err
    assert len(folder.cat("orders", "--incarnation", OTHER_ID)[1].splitlines()) == 3
    assert len(folder.cat("orders", "--incarnation", "BB")[1].splitlines()) == 3


def test_gaps_and_damage(folder: Folder) -> None:
    """On stderr; the rest is shown. A gap changes no exit code, damage is 5."""
    gap = GapEntry(
        topic="orders",
        topic_id=TOPIC_ID,
        partition=0,
        start_offset=3,
        next_offset=9,
        reason="retention",
        detected_at_ms=T0_MS,
    )
    folder.put(a_batch(0, 3))
    folder.put(a_batch(9, 3), start_offset=9, gaps=[gap])
    code, out, err = folder.cat("orders")
    assert (code, len(out.splitlines())) == (0, 6)
    assert "gap orders:0 [3, 9): retention, found 2026-11-18T11:06:40Z" in err
    key = folder.put(a_batch(12, 3), start_offset=12)
    folder.put(a_batch(20, 3), start_offset=20)
    path = folder.path / "repository" / key
    body = bytearray(path.read_bytes())
    body[80] ^= 1
    path.write_bytes(bytes(body))
    code, out, err = folder.cat("orders")
    assert (code, len(out.splitlines())) == (5, 9)
    assert f"cannot be read, so left out here: {key}: run of orders-0 [12, 15) does not match its checksum" in err
    assert "MISSING orders:0 [15, 20)" in err
    assert "mirror verify" in err
    code, out, err = folder.cat("orders", "--json")
    assert code == 5
    assert [lost["reason"] for lost in json.loads(err)["lost"]] == ["retention", None]


def _process(folder: Folder, *args: str, **env: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, "--config", str(folder.config), "cat", *args],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_reader_that_leaves_ends_the_search(folder: Folder) -> None:
    """As with `| head -1`: exit 0, no complaint, and most objects are never opened."""
    for first in range(0, 40_000, 1000):
        folder.put(a_batch(first, 1000), start_offset=first)
    with _process(folder, "orders", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"topic":"orders","partition":0,"offset":0,')
        process.stdout.close()
        summary = json.loads(process.stderr.read())
    assert process.returncode == 0
    assert summary["is_cut"]
    assert summary["objects"] < 20


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_search_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, after five seconds without a record."""
    now_s = [0.0]
    heartbeat = Heartbeat(clock=lambda: now_s[0])
    monkeypatch.setattr(sys, "stderr", _Terminal())
    for at_s in (1, 4, 6, 7, 12):
        now_s[0] = at_s
        assert heartbeat.told(at_s, 20)
        if at_s == 4:
            heartbeat.wrote()
    assert sys.stderr.getvalue() == "searched 12 of 20 objects …\n"  # type: ignore[attr-defined]


def test_a_stdout_without_these_signs(folder: Folder) -> None:
    """Text is escaped, JSON too; nothing becomes a question mark."""
    folder.put(a_batch(0, 1, tails=[a_tail("größe".encode(), "\U0001f600".encode())]))
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    out, _ = _process(folder, "orders", **plain).communicate()
    assert out.split(b"\t")[3:] == [b"gr\\u00f6\\u00dfe", b"\\U0001f600\n"]
    out, _ = _process(folder, "orders", "--json", **plain).communicate()
    assert json.loads(out.decode("ascii"))["key"] == "größe"
