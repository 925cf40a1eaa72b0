"""Fetching the servers: Kafka's jars by Maven, MinIO built by Go. Each happens once per machine and version."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.servers.cache import default_cache_dir, ensure_entry
from tests.servers.errors import StackError
from tests.servers.versions import (
    GO_MIN_VERSION,
    JAVA_MIN_MAJOR,
    KAFKA_VERSION,
    LOG4J_VERSION,
    MINIO_VERSION,
    SCALA_VERSION,
)

Say = Callable[[str], None]

KAFKA_ENTRY = f"kafka-{KAFKA_VERSION}-log4j-{LOG4J_VERSION}"
CONNECT_ENTRY = f"connect-{KAFKA_VERSION}-log4j-{LOG4J_VERSION}"
MINIO_ENTRY = f"minio-{MINIO_VERSION}"

_LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION)
_KAFKA_ARTIFACTS = (
    ("org.apache.kafka", f"kafka_{SCALA_VERSION}", KAFKA_VERSION),
    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
    _LOGGING,
)
_CONNECT_ARTIFACTS = (
    ("org.apache.kafka", "connect-mirror", KAFKA_VERSION),
    ("org.apache.kafka", "connect-runtime", KAFKA_VERSION),
    _LOGGING,
)
_INSTALL = {
    "java": f"install a JDK or JRE {JAVA_MIN_MAJOR} or newer, e.g. apt-get install openjdk-17-jre-headless",
    "mvn": "install Maven, e.g. apt-get install maven",
    "go": f"install Go {GO_MIN_VERSION[0]}.{GO_MIN_VERSION[1]} or newer (a distribution's package may be too old)",
}
_FETCH_TIMEOUT_S = 1800


def say_on_stderr(text: str) -> None:
    """Print one line of progress where it does not mix with results."""
    print(text, file=sys.stderr, flush=True)


def tool(name: str) -> str:
    """Path of an outside command; raises StackError with what to install when it is not on PATH."""
    found = shutil.which(name)
    if found is None:
        raise StackError(f"{name} is not on PATH: {_INSTALL.get(name, f'install {name}')}")
    return found


def java() -> str:
    """Path of a Java that is new enough for this Kafka; raises StackError otherwise."""
    path = tool("java")
    banner = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', banner)
    if found is None or int(found.group(1)) < JAVA_MIN_MAJOR:
        first_line = banner.splitlines()[0] if banner else "no version printed"
        raise StackError(f"{path} is too old ({first_line}): {_INSTALL['java']}")
    return path


def _go() -> str:
    path = tool("go")
    printed = subprocess.run([path, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", printed)
    if found is None or (int(found.group(1)), int(found.group(2))) < GO_MIN_VERSION:
        raise StackError(f"{path} is too old ({printed.strip() or 'no version printed'}): {_INSTALL['go']}")
    return path


def is_fetched(cache_dir: Path | None = None) -> bool:
    """Whether Kafka and MinIO are both in the cache, so that starting them needs no network."""
    folder = cache_dir or default_cache_dir()
    return (folder / KAFKA_ENTRY).is_dir() and (folder / MINIO_ENTRY).is_file()


def ensure_kafka(cache_dir: Path | None = None, *, say: Say = say_on_stderr) -> Path:
    """Folder with the jars of the Kafka broker and its tools. Raises StackError when they cannot be fetched."""
    return _ensure_jars(cache_dir, KAFKA_ENTRY, _KAFKA_ARTIFACTS, say)


def ensure_connect(cache_dir: Path | None = None, *, say: Say = say_on_stderr) -> Path:
    """Folder with the jars of MirrorMaker 2 (`org.apache.kafka.connect.mirror.MirrorMaker`), for comparisons."""
    return _ensure_jars(cache_dir, CONNECT_ENTRY, _CONNECT_ARTIFACTS, say)


def ensure_minio(cache_dir: Path | None = None, *, say: Say = say_on_stderr) -> Path:
    """Path of the MinIO server binary, built from its pinned source on first use. Raises StackError when it fails."""

    def build(work_folder: Path) -> None:
        go = _go()
        say(f"building MinIO once, about 4 minutes ({MINIO_VERSION})")
        _run(
            [go, "install", f"github.com/minio/minio@{MINIO_VERSION}"],
            "building MinIO",
            env={"GOBIN": str(work_folder)},
        )
        (work_folder / "minio").rename(work_folder / "out")

    return ensure_entry(cache_dir or default_cache_dir(), MINIO_ENTRY, build)


def _ensure_jars(cache_dir: Path | None, entry: str, artifacts: Sequence[tuple[str, str, str]], say: Say) -> Path:
    def copy_dependencies(work_folder: Path) -> None:
        mvn = tool("mvn")
        say(f"fetching {entry} with Maven, about half a minute")
        (work_folder / "pom.xml").write_text(_pom(artifacts))
        out = work_folder / "out"
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={out}", "-DincludeScope=runtime"]
        _run(
            [mvn, "-B", "-q", "-f", str(work_folder / "pom.xml"), *goal],
            f"fetching {entry}",
        )
        if not any(out.glob("kafka-clients-*.jar")):
            raise StackError(f"fetching {entry}: Maven ended well but {out} has no kafka-clients jar")

    return ensure_entry(cache_dir or default_cache_dir(), entry, copy_dependencies)


def _pom(artifacts: Sequence[tuple[str, str, str]]) -> str:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n"
        for group, artifact, version in artifacts
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>\n'
        "<groupId>mirror.stack</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>\n"
        f"<dependencies>\n{dependencies}</dependencies></project>\n"
    )


def _run(argv: Sequence[str], doing: str, *, env: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
            timeout=_FETCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{doing}: not done after {_FETCH_TIMEOUT_S} s") from None
    if done.returncode != 0:
        last_lines = "\n".join(done.stdout.splitlines()[-15:])
        raise StackError(f"{doing}: {argv[0]} exited with {done.returncode}:\n{last_lines}")
