"""What Ray has under ``ray.util``, under the same names.

>>> import fanlight as ray
>>> from fanlight.util import ActorPool
>>> @ray.remote
... class Doubler:
...     def double(self, x):
...         return 2 * x
>>> with ray.init(num_cpus=2, engine="inproc"):
...     pool = ActorPool([Doubler.remote(), Doubler.remote()])
...     list(pool.map(lambda actor, x: actor.double.remote(x), [1, 2, 3]))
[2, 4, 6]

Each part is a module of its own and is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

# Not on first use: the function has its module's name, and whoever loads the module later would
# put it in the function's place.
from fanlight.util.placement_group import placement_group

if TYPE_CHECKING:
    from fanlight.util import (
        accelerators,
        joblib,
        metrics,
        multiprocessing,
        queue,
        scheduling_strategies,
        state,
    )
    from fanlight.util.actor_pool import ActorPool
    from fanlight.util.check_serialize import inspect_serializability
    from fanlight.util.helpers import (
        as_completed,
        get_node_ip_address,
        list_named_actors,
        map_unordered,
    )
    from fanlight.util.placement_group import (
        PlacementGroup,
        get_current_placement_group,
        get_placement_group,
        placement_group_table,
        remove_placement_group,
    )
    from fanlight.util.serialization import deregister_serializer, register_serializer

_HOME = {
    "ActorPool": "actor_pool",
    "PlacementGroup": "placement_group",
    "as_completed": "helpers",
    "deregister_serializer": "serialization",
    "get_current_placement_group": "placement_group",
    "get_node_ip_address": "helpers",
    "get_placement_group": "placement_group",
    "inspect_serializability": "check_serialize",
    "list_named_actors": "helpers",
    "map_unordered": "helpers",
    "placement_group_table": "placement_group",
    "register_serializer": "serialization",
    "remove_placement_group": "placement_group",
}
_MODULES = (
    "accelerators", "joblib", "metrics", "multiprocessing", "queue", "scheduling_strategies", "state",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"fanlight.util.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"fanlight.util.{name}")
    else:
        raise AttributeError(f"module 'fanlight.util' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})


def connect(*_: Any, **__: Any) -> NoReturn:
    """Ray's client mode. Raises UnsupportedError: ``init(address=...)`` attaches to a runtime."""
    from fanlight.errors import UnsupportedError

    raise UnsupportedError(
        "util.connect() is not in this version of Fanlight: there are no remote clusters to be a "
        "client of. fanlight.init(address='auto') attaches to a runtime of this machine."
    )


__all__ = [
    "ActorPool",
    "PlacementGroup",
    "accelerators",
    "as_completed",
    "connect",
    "deregister_serializer",
    "get_current_placement_group",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "joblib",
    "list_named_actors",
    "map_unordered",
    "metrics",
    "multiprocessing",
    "placement_group",
    "placement_group_table",
    "queue",
    "register_serializer",
    "remove_placement_group",
    "scheduling_strategies",
    "state",
]
