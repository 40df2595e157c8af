"""What `make test-long` lets its user choose: the seed of random tests, and how long a soak lasts.

    FANLIGHT_SEED=7 FANLIGHT_SOAK_SECONDS=60 make test-long PYTEST_ARGS="-k chaos"

A test that takes more than about ten seconds is marked ``@pytest.mark.long``: `make test` leaves it
out (``addopts`` in pyproject.toml), `make test-long` runs those only. It says now and then with
``progress`` what it does, and prints its seed when it fails.
"""

from __future__ import annotations

import os
import random
import time

_started = time.monotonic()


def seed(default: int | None = None) -> int:
    """$FANLIGHT_SEED; else ``default``; else one that differs from run to run."""
    chosen = os.environ.get("FANLIGHT_SEED", "")
    if chosen:
        return int(chosen)
    return default if default is not None else random.SystemRandom().randrange(1_000_000)


def soak_seconds(default: float) -> float:
    """$FANLIGHT_SOAK_SECONDS, or ``default``."""
    return float(os.environ.get("FANLIGHT_SOAK_SECONDS") or default)


def progress(text: str) -> None:
    """A line for who watches a long run; pytest keeps it back unless a test fails or with ``-s``."""
    print(f"[{time.monotonic() - _started:7.1f} s] {text}", flush=True)
