"""Free loopback ports that stay ours while a server is down between kill and restart."""

import os
import secrets
import socket

# Below the kernel's ephemeral range (32768 and up): no outgoing connection can take the port of a killed server.
_FIRST_PORT, _NEXT_PORT = 15_000, 32_000
# The workers of one test run (gw0, gw1, …) take from parts of their own, so that none takes the port of another's server
# that is down at the moment.
_PARTS = 10
_WORKER_VARIABLE = "PYTEST_XDIST_WORKER"
_given_out: set[int] = set()


def _part() -> range:
    worker = os.environ.get(_WORKER_VARIABLE)
    if worker is None:
        return range(_FIRST_PORT, _NEXT_PORT)
    ports = (_NEXT_PORT - _FIRST_PORT) // _PARTS
    first = _FIRST_PORT + int(worker.removeprefix("gw")) % _PARTS * ports
    return range(first, first + ports)


def free_port() -> int:
    """A port nobody listens on, not given out before by this process; random, so that two processes rarely meet."""
    ports = _part()
    for _ in range(1000):
        # not `random`: a seeded test run would try the same ports in every process
        port = secrets.choice(ports)
        if port not in _given_out and not is_listening(port):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            _given_out.add(port)
            return port
    raise RuntimeError(f"no free port found between {ports.start} and {ports.stop}")


def is_listening(port: int) -> bool:
    """Whether something accepts connections on that loopback port now."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
