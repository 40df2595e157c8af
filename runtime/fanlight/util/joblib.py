"""Lets joblib, and so scikit-learn, run its work as tasks.

>>> import fanlight, joblib
>>> from fanlight.util.joblib import register_ray
>>> register_ray()
>>> with fanlight.init(num_cpus=2, engine="inproc"), joblib.parallel_backend("ray"):
...     joblib.Parallel()(joblib.delayed(abs)(x) for x in (-1, 2, -3))
[1, 2, 3]
"""

from __future__ import annotations


def register_fanlight() -> None:
    """Make ``joblib.parallel_backend("fanlight")`` known. Raises ImportError without joblib.

    ``n_jobs=-1`` means: as many as the runtime has CPUs. Large arrays among the arguments are
    stored once, and mapped by the tasks. ``parallel_backend("fanlight", ray_remote_args={...})``
    gives options for the tasks. With the inproc engine the work is done where it is, as it is with
    ``n_jobs=1``.
    """
    _register("fanlight")


def register_ray() -> None:
    """Like ``register_fanlight``, under Ray's name too: ``joblib.parallel_backend("ray")``."""
    _register("fanlight", "ray")


def _register(*names: str) -> None:
    try:
        from joblib import register_parallel_backend
    except ImportError:
        raise ImportError("register_ray() needs the package joblib; pip install joblib") from None
    from fanlight.util.joblib_backend import FanlightBackend

    for name in names:
        register_parallel_backend(name, FanlightBackend)


__all__ = ["register_fanlight", "register_ray"]
