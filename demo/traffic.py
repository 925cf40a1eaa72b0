"""A few records a second, for looking around: `make up` leaves this running."""

import time

from demo.data import Shop

_TICK_S = 2.0
_TIMES_SMALLER = 200


def run_traffic(bootstrap: str) -> None:
    """Write until stopped (KeyboardInterrupt, which SIGTERM is made into)."""
    shop = Shop(bootstrap, size=_TIMES_SMALLER)
    number = 0
    while True:
        until = time.monotonic() + _TICK_S
        shop.tick(number)
        number += 1
        time.sleep(max(0.0, until - time.monotonic()))
