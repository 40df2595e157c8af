"""Figures of your own: counters, gauges and histograms, for Prometheus.

>>> import fanlight
>>> from fanlight.util import metrics
>>> requests = metrics.Counter("requests", "Requests served", tag_keys=("route",))
>>> @fanlight.remote
... def serve(route):
...     requests.inc(tags={"route": route})
>>> with fanlight.init(num_cpus=1, engine="inproc"):
...     done = fanlight.get([serve.remote("/a"), serve.remote("/a"), serve.remote("/b")])
...     print(*(x for x in metrics.prometheus_text().splitlines() if "requests" in x), sep="\\n")
# HELP ray_requests_total Requests served
# TYPE ray_requests_total counter
ray_requests_total{route="/a"} 2.0
ray_requests_total{route="/b"} 1.0

Values are added up in each process and told to the node at the end of a task, and at most every
half second during one. What is recorded before there is a runtime is told to the first one.
"""

from __future__ import annotations

import bisect
import logging
import numbers
import re
import threading
from typing import Any

from fanlight import messages as m
from fanlight import session as sessions
from fanlight.errors import FanlightError

_log = logging.getLogger("fanlight")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_TAG = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_SECONDS = 0.5
_MOST = 5000  # changes that are kept while there is nobody to tell


class _Recorder:
    """The changes of this process that the node does not know yet."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changes: dict[tuple[Any, ...], m.MetricChange] = {}
        self._timer: threading.Timer | None = None

    def change(self, metric: Metric, tags: dict[str, str]) -> m.MetricChange:
        """The pending change of a series; the caller holds ``lock`` and adds to it."""
        key = (metric._name, metric._kind, *metric._boundaries, *tags.items())
        found = self._changes.get(key)
        if found is None:
            buckets = len(metric._boundaries) + 1 if metric._kind == m.HISTOGRAM else 0
            found = m.MetricChange(
                metric._name, metric._kind, metric._description, tags, 0.0,
                metric._boundaries, [0] * buckets,
            )  # fmt: skip
            if len(self._changes) < _MOST:
                self._changes[key] = found
            self._schedule()
        return found

    def _schedule(self) -> None:
        session = sessions._current
        if session is None:
            return
        session.client.before_report = self.flush
        if self._timer is None:
            self._timer = threading.Timer(_SECONDS, self._on_time)
            self._timer.daemon = True
            self._timer.start()

    def _on_time(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Tell the node; called before a task's end is reported, by the timer, and on demand."""
        session = sessions._current
        if session is None:
            return
        session.client.before_report = None
        with self._lock:
            changes, self._changes = list(self._changes.values()), {}
        if changes:
            try:
                session.client.link.send([m.Metrics(changes)])
            except FanlightError:
                _log.debug("the runtime ended before it was told of %d changes", len(changes))


_recorder = _Recorder()


class Metric:
    """What counters, gauges and histograms share.

    Objects of the same name, in whatever process, stand for the same figure. They can be captured
    by tasks and kept in actors.
    """

    _kind = -1

    def __init__(
        self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"A metric's name is a string, not {name!r}.")
        if not _NAME.match(name):
            raise ValueError(
                f"{name!r} cannot be a metric's name: letters, digits, '_' and ':' only, and no "
                "digit in front."
            )
        if tag_keys is not None and not isinstance(tag_keys, tuple):
            raise TypeError(f"tag_keys is a tuple of strings, got {tag_keys!r}.")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"tag_keys is a tuple of strings, got {tag_keys!r}.")
            if not _TAG.match(key):
                raise ValueError(f"{key!r} cannot be a tag: letters, digits and '_' only.")
        self._name = name
        self._description = str(description)
        self._description.encode()
        self._tag_keys = tuple(tag_keys or ())
        self._default_tags: dict[str, str] = {}
        self._boundaries: list[float] = []

    @property
    def info(self) -> dict[str, Any]:
        """Its name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": dict(self._default_tags),
        }

    def set_default_tags(self, default_tags: dict[str, str]) -> Any:
        """Values for tags that a record does not name. Returns this metric."""
        self._check_tags(default_tags)
        self._default_tags = dict(default_tags)
        return self

    def _check_tags(self, tags: dict[str, str]) -> None:
        if not isinstance(tags, dict):
            raise TypeError(f"Tags are a dict of strings, got {tags!r}.")
        for key, value in tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key!r}; tag_keys is {self._tag_keys}.")
            if not isinstance(value, str):
                raise TypeError(f"The value of tag {key!r} must be a string, got {value!r}.")
            value.encode()  # what is no text (a lone surrogate) raises, and is a ValueError

    def _tags(self, tags: dict[str, str] | None) -> dict[str, str]:
        if tags:
            self._check_tags(tags)
            tags = {**self._default_tags, **tags}
        else:
            tags = self._default_tags
        missing = [key for key in self._tag_keys if key not in tags]
        if missing:
            raise ValueError(f"Missing value for tag key(s) of {self._name}: {', '.join(missing)}.")
        return {key: tags[key] for key in self._tag_keys}

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self._tag_keys

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._arguments(), self._default_tags)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"


def _rebuild(cls: type[Metric], arguments: tuple[Any, ...], default_tags: dict[str, str]) -> Metric:
    made = cls(*arguments)
    made._default_tags = default_tags
    return made


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"A metric's value is a number, not {value!r}.")
    return float(value)


class Counter(Metric):
    """Something that only grows; Prometheus sees it as ``ray_<name>_total``.

    Args:
        name: letters, digits, ``_`` and ``:``.
        description: what it counts, for people.
        tag_keys: the names of its tags; there is one figure for each combination of their values.
    """

    _kind = m.COUNTER

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add ``value``. Raises ValueError if it is not positive, or a tag has no value."""
        value = _float(value)
        if not value > 0:
            raise ValueError(f"A counter grows by more than 0, got {value}.")
        full = self._tags(tags)
        with _recorder._lock:
            _recorder.change(self, full).value += value


class Gauge(Metric):
    """Something that goes up and down; Prometheus sees the latest value as ``ray_<name>``."""

    _kind = m.GAUGE

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Record the value of now. Raises ValueError if a tag has no value."""
        value = _float(value)
        full = self._tags(tags)
        with _recorder._lock:
            _recorder.change(self, full).value = value


class Histogram(Metric):
    """How values are distributed over buckets.

    Args:
        boundaries: the upper bounds of the buckets, positive and growing; one more bucket takes
            what is above the last.
    """

    _kind = m.HISTOGRAM

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: list[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(name, description, tag_keys)
        bounds = [float(b) for b in boundaries or ()]
        if not bounds or bounds[0] <= 0 or sorted(set(bounds)) != bounds:
            raise ValueError(f"boundaries must be positive and growing numbers, got {boundaries}.")
        self._boundaries = bounds

    @property
    def info(self) -> dict[str, Any]:
        """Its name, description, tag keys, default tags and boundaries."""
        return {**super().info, "boundaries": list(self._boundaries)}

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Record one value. Raises ValueError if a tag has no value."""
        value = _float(value)
        full = self._tags(tags)
        with _recorder._lock:
            change = _recorder.change(self, full)
            change.value += value
            change.counts[bisect.bisect_left(self._boundaries, value)] += 1

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self._boundaries, self._tag_keys


def prometheus_text() -> str:
    """All metrics, and the runtime's own figures, in Prometheus' text format.

    The values of tasks that have ended are in it, those of running ones up to half a second ago.
    """
    session = sessions.require()
    _recorder.flush()
    text: str = session.engine.query("prometheus")
    return text


__all__ = ["Counter", "Gauge", "Histogram", "Metric", "prometheus_text"]
