"""The standard library's ``multiprocessing.Pool`` over actors."""

from __future__ import annotations

from multiprocessing import TimeoutError  # noqa: A004

from fanlight.util.multiprocessing.pool import Pool
from fanlight.util.multiprocessing.results import AsyncResult, IMapIterator

__all__ = ["AsyncResult", "IMapIterator", "Pool", "TimeoutError"]
