"""`python -m bench`: measure, write docs/benchmarks.md and bench/results.json."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from bench.children import REPOSITORY_ROOT, BenchError
from bench.compare import Result
from bench.earlier import read_results, with_earlier
from bench.machine import describe_machine
from bench.report import results_json, results_markdown
from bench.stack import running_stack
from bench.suite import COMPARISONS, MANY_PARTITIONS, PLANNING, RECOVERY_POINT, Options, run_suite
from mirror.errors import MirrorError
from tests.servers.errors import StackError

_DEFAULT_PAIRS = 5


def main() -> int:
    """The exit code: 0 measured (whatever came out), 1 could not measure, 2 usage."""
    arguments = _parser().parse_args()
    options = Options(pairs=arguments.pairs, quick=arguments.quick, keep=arguments.keep, only=tuple(arguments.only))
    names = [comparison.name for _, comparison in COMPARISONS] + [RECOVERY_POINT, MANY_PARTITIONS, PLANNING]
    if arguments.list or not any(options.wants(name) for name in names):
        print("\n".join(names))
        return 0 if arguments.list else 2
    machine = describe_machine()
    results: list[Result] = []
    failure = ""
    try:
        with running_stack(keep=options.keep) as stack:
            run_suite(stack, options, lambda text: print(text, flush=True), results)
    except (BenchError, StackError, MirrorError, KafkaException) as error:
        failure = f"{type(error).__name__}: {error}"
        print(f"error: {failure}", file=sys.stderr)
    if not results:
        return 1
    run: dict[str, Any] = {
        "failure": failure,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "pairs": options.pairs,
        "quick": options.quick,
        "command": "python -m bench " + " ".join(sys.argv[1:]),
    }
    is_full = arguments.output == REPOSITORY_ROOT
    json_path = arguments.output / ("bench/results.json" if is_full else "results.json")
    page_path = arguments.output / ("docs/benchmarks.md" if is_full else "benchmarks.md")
    if is_full and arguments.only and not arguments.quick and json_path.exists():
        earlier, machine, earlier_run = read_results(json_path)
        results, run = with_earlier(results, earlier, run), {**earlier_run, "failure": failure}
    for path in (json_path, page_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(results_json(results, machine, run))
    page_path.write_text(results_markdown(results, machine, run))
    print(results_markdown(results, machine, run).partition("## Method")[0])
    print(f"written: {page_path}, {json_path}")
    return 1 if failure else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="part of a name; repeatable; other lines of the page stay",
    )
    parser.add_argument("--pairs", type=int, default=_DEFAULT_PAIRS, help="rounds (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="little data: try the harness")
    parser.add_argument("--keep", action="store_true", help="keep topics, objects and logs of this run")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--output", type=Path, default=REPOSITORY_ROOT, help="folder (default: this repository)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
