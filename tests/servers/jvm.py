"""Command lines for Kafka's Java classes, and the class archive that makes them start in half the time."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers.cache import ensure_entry
from tests.servers.errors import StackError
from tests.servers.fetch import Say, ensure_kafka, java, say_on_stderr

_LOG4J = """\
status = error
shutdownHook = disable
appenders = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jvm:
    """How to run classes of one folder of jars: `argv` and `env` for a class and its arguments."""

    java: str
    jars: Path
    log4j_path: Path
    archive: Path | None = None

    def argv(self, *class_and_args: str, heap: str = "512m", quick_start: bool = True) -> list[str]:
        """Command line. `quick_start` trades peak speed for start time: only the first compiler, serial collector."""
        flags = [f"-Xmx{heap}", "-Djava.awt.headless=true", f"-Dlog4j2.configurationFile=file:{self.log4j_path}"]
        if quick_start:
            flags += ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        if self.archive is not None:
            # "auto", and silent: an archive that does not fit this JVM is passed over
            flags += [f"-XX:SharedArchiveFile={self.archive}", "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
        return [self.java, *flags, *class_and_args]

    def env(self) -> Mapping[str, str]:
        """Environment to add: the class path, sorted, since the archive holds only for the same order."""
        return {"CLASSPATH": ":".join(str(jar) for jar in sorted(self.jars.glob("*.jar")))}


def plain_jvm(jars: Path) -> Jvm:
    """A Jvm for a folder of jars from the cache, without a class archive. Raises StackError when Java is missing."""

    def write_log4j(work_folder: Path) -> None:
        (work_folder / "out").write_text(_LOG4J)

    digest = hashlib.sha256(_LOG4J.encode()).hexdigest()[:12]
    return Jvm(java=java(), jars=jars, log4j_path=ensure_entry(jars.parent, f"log4j2-{digest}.properties", write_log4j))


def kafka_jvm(cache_dir: Path | None, train: Callable[[Jvm, Path], None], *, say: Say = say_on_stderr) -> Jvm:
    """The Jvm of broker and tools, with a class archive made once per Java and Kafka.

    `train(jvm, work_folder)` runs a broker with that jvm and stops it in order; its classes are what is archived.
    """
    jvm = plain_jvm(ensure_kafka(cache_dir, say=say))
    version = subprocess.run([jvm.java, "-Xinternalversion"], capture_output=True, check=False).stdout
    key = hashlib.sha256(version + str(jvm.jars).encode()).hexdigest()[:12]

    def archive_classes(work_folder: Path) -> None:
        say("making Kafka's class archive once, about 15 s")
        recorder = work_folder / "java"
        out = work_folder / "out"
        recorder.write_text(f'#!/bin/sh\nexec "{jvm.java}" -XX:ArchiveClassesAtExit="{out}" "$@"\n')
        recorder.chmod(0o755)
        train(Jvm(java=str(recorder), jars=jvm.jars, log4j_path=jvm.log4j_path), work_folder)
        if not out.exists():
            raise StackError(f"{jvm.java} wrote no class archive for Kafka")

    archive = ensure_entry(jvm.jars.parent, f"{jvm.jars.name}-{key}.jsa", archive_classes)
    return Jvm(java=jvm.java, jars=jvm.jars, log4j_path=jvm.log4j_path, archive=archive)


def run_class(jvm: Jvm, class_and_args: Sequence[str], *, heap: str, timeout_s: float, check: bool) -> str:
    """Run a class to its end and return what it printed. Raises StackError on a bad exit (if `check`) or time-out."""
    argv = jvm.argv(*class_and_args, heap=heap)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **jvm.env()},
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{class_and_args[0]}: not done after {timeout_s} s") from None
    if check and done.returncode != 0:
        raise StackError(f"{class_and_args[0]} exited with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout
