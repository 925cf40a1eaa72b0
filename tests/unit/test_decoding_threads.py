"""Many threads may decode a type for the first time at once."""

import subprocess
import sys

_PROGRAM = """
import sys, threading, msgspec
from mirror.core.segment.index import decode_json

sys.setswitchinterval(1e-6)
part = msgspec.defstruct("Part", [("number", int, 0)])
for _ in range(40):
    inner = msgspec.defstruct("Inner", [(f"f{i}", part | None, None) for i in range(40)])
    fields = [("format_version", int, 1), ("many", list[inner], [])]
    outer = msgspec.defstruct("Outer", fields + [(f"g{i}", inner | None, None) for i in range(40)])
    start = threading.Barrier(8)

    def decode():
        start.wait()
        decode_json(outer, b'{"format_version": 1, "many": [{"f1": {"number": 3}}]}', "x")

    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_first_decoding_by_many_threads_does_not_end_the_process() -> None:
    """msgspec alone dies here (0.22): a worker that starts reads many footers at once."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
