"""Free loopback ports that stay ours while a server is down between kill and restart."""

import secrets
import socket

# Below the kernel's ephemeral range (32768 and up): no outgoing connection can take the port of a killed server.
_FIRST_PORT, _NEXT_PORT = 15_000, 32_000
_given_out: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, not given out before by this process; random, so that two processes rarely meet."""
    for _ in range(1000):
        # not `random`: a seeded test run would try the same ports in every process
        port = _FIRST_PORT + secrets.randbelow(_NEXT_PORT - _FIRST_PORT)
        if port not in _given_out and not is_listening(port):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            _given_out.add(port)
            return port
    raise RuntimeError(f"no free port found between {_FIRST_PORT} and {_NEXT_PORT}")


def is_listening(port: int) -> bool:
    """Whether something accepts connections on that loopback port now."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
