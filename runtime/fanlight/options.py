"""Options of tasks and actors: one table, used to validate, to document and to complete.

Every option is either honoured or refused by an error that names it; none is ignored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from fanlight import labels
from fanlight.config import UNITS
from fanlight.messages import MOST_RETURNS


class Option(NamedTuple):
    """One row of the table."""

    types: tuple[type, ...]
    default: Any
    tasks: bool  # accepted by functions
    actors: bool  # accepted by classes
    help: str
    check: Callable[[str, Any], None] | None = None


def _resource(name: str, value: Any) -> None:
    if value < 0:
        raise ValueError(f"The quantity of {name} cannot be negative, got {value}.")
    if value and round(value * UNITS) < 1:
        raise ValueError(
            f"The quantity of {name} is {value}; the smallest amount is {1 / UNITS:.4f} "
            "(resources have that precision)."
        )


def _gpus(name: str, value: Any) -> None:
    _resource(name, value)
    if value > 1 and value != int(value):
        raise ValueError(f"{name} above 1 must be a whole number, got {value}.")


def _custom(name: str, value: dict[str, float]) -> None:
    for key, amount in value.items():
        if not isinstance(key, str):
            raise TypeError(f"The keys of {name} must be strings, got {key!r}.")
        if key in ("CPU", "GPU", "memory"):
            option = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}[key]
            raise ValueError(f"Use {option}= instead of {name}={{'{key}': …}}.")
        if not isinstance(amount, int | float):
            raise TypeError(f"{name}[{key!r}] must be a number, got {amount!r}.")
        _resource(f"{name}[{key!r}]", amount)


def _count(name: str, value: int) -> None:
    if value < -1:
        raise ValueError(f"{name} must be -1 (no limit), 0 or more, got {value}.")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")


def _pending_calls(name: str, value: int) -> None:
    if value < -1 or value == 0:
        raise ValueError(f"{name} must be -1 (no limit) or at least 1, got {value}.")


def _calls(name: str, value: int) -> None:
    if value < 0:
        raise ValueError(f"{name} must be 0 (no limit) or more, got {value}.")


def _num_returns(name: str, value: Any) -> None:
    if isinstance(value, str):
        if value == "dynamic":
            warnings.warn(
                'num_returns="dynamic" is deprecated: a generator function needs no num_returns, '
                "and its items arrive while it runs.",
                DeprecationWarning,
                stacklevel=6,
            )
        elif value != "streaming":
            raise TypeError(
                f"num_returns must be a whole number, 'streaming' or 'dynamic', got {value!r}."
            )
        return
    if value < 0:
        raise ValueError(f"num_returns cannot be negative, got {value}.")
    if value > MOST_RETURNS:
        raise ValueError(f"num_returns cannot be above {MOST_RETURNS}, got {value}.")


def _backpressure(name: str, value: int) -> None:
    if value < 1 and value != -1:
        raise ValueError(f"{name} must be at least 1, or -1 (no limit), got {value}.")


def _retry_exceptions(name: str, value: Any) -> None:
    if isinstance(value, list | tuple):
        for item in value:
            if not (isinstance(item, type) and issubclass(item, Exception)):
                raise ValueError(f"retry_exceptions must list exception classes, got {item!r}.")


def _lifetime(name: str, value: str) -> None:
    if value not in ("detached", "non_detached"):
        raise ValueError(f"lifetime must be None, 'detached' or 'non_detached', got {value!r}.")


def _actor_name(name: str, value: str) -> None:
    if value == "":
        raise ValueError("An actor's name cannot be empty.")


def _groups(name: str, value: Any) -> None:
    for group, limit in groups_of(value).items():
        if not isinstance(group, str) or not group:
            raise ValueError(f"{name}: a group's name must be a string, got {group!r}.")
        if not isinstance(limit, int) or isinstance(limit, bool):
            raise TypeError(f"{name}[{group!r}] must be a whole number, got {limit!r}.")
        _at_least_one(f"{name}[{group!r}]", limit)


def _strategy(name: str, value: Any) -> None:
    if isinstance(value, str) and value not in ("DEFAULT", "SPREAD"):
        raise ValueError(f"scheduling_strategy must be None, 'DEFAULT' or 'SPREAD', got {value!r}.")
    if not isinstance(value, str) and not hasattr(type(value), "to_where"):
        raise TypeError(
            "scheduling_strategy must be None, a string, or an object of "
            f"fanlight.util.scheduling_strategies, not {type(value).__name__}."
        )


def _runtime_env(name: str, value: Any) -> None:
    from fanlight import runtime_env  # not for those who never use one

    runtime_env.check(value, job=False)


def _group(name: str, value: Any) -> None:
    if value != "default" and not hasattr(type(value), "bundle_specs"):
        raise TypeError(f"{name} must be a PlacementGroup, not {type(value).__name__}.")
    warnings.warn(
        f"{name}= is deprecated; use scheduling_strategy=PlacementGroupSchedulingStrategy(…).",
        DeprecationWarning,
        stacklevel=5,
    )


def _selector(name: str, value: dict[str, str]) -> None:
    labels.selector_rules(value)


def _accelerator(name: str, value: str) -> None:
    if not value:
        raise ValueError("accelerator_type cannot be empty.")


_number = (int, float)
_PIN = 0.001  # of a resource that only says what a node is; it has 1 of it

OPTIONS: dict[str, Option] = {
    "num_cpus": Option(_number, None, True, True, "CPUs held while it runs", _resource),
    "num_gpus": Option(_number, None, True, True, "GPUs held while it runs", _gpus),
    "memory": Option(_number, None, True, True, "bytes of memory to reserve", _resource),
    "resources": Option((dict,), None, True, True, "custom resources, name to amount", _custom),
    "name": Option((str,), None, True, True, "what it is called in the panel; actors: its name"),
    "num_returns": Option((int, str), 1, True, False, "how many objects it returns", _num_returns),
    "_generator_backpressure_num_objects": Option(
        (int,), -1, True, False, "items a generator may be ahead of its consumer", _backpressure
    ),
    "max_retries": Option(
        (int,), 3, True, False, "runs again this often if its worker dies", _count
    ),
    "retry_exceptions": Option(
        (bool, list, tuple), False, True, False, "also retry exceptions", _retry_exceptions
    ),
    "namespace": Option((str,), None, False, True, "where the actor's name is valid"),
    "lifetime": Option((str,), None, False, True, "'detached' outlives its creator", _lifetime),
    "get_if_exists": Option((bool,), False, False, True, "return the actor of that name"),
    "max_restarts": Option((int,), 0, False, True, "restarts after its process died", _count),
    "max_task_retries": Option((int,), 0, False, True, "resends of calls it lost", _count),
    "max_concurrency": Option((int,), None, False, True, "calls that may overlap", _at_least_one),
    "scheduling_strategy": Option((object,), None, True, True, "where to run", _strategy),
    "runtime_env": Option(
        (dict,), None, True, True, "variables and packages that it needs", _runtime_env
    ),
    "max_calls": Option(
        (int,), None, True, False, "its worker ends after so many runs; 0: no limit", _calls
    ),
    "max_pending_calls": Option(
        (int,), -1, False, True, "calls that a handle may have outstanding", _pending_calls
    ),
    "concurrency_groups": Option(
        (dict, list), None, False, True, "calls of each group that may overlap", _groups
    ),
    "allow_out_of_order_execution": Option(
        (bool,), None, False, True, "whether calls of one caller may overtake each other"
    ),
    "concurrency_group": Option((str,), None, False, False, "methods: the group they run in"),
    "accelerator_type": Option((str,), None, True, True, "kind of GPU it needs", _accelerator),
    "label_selector": Option((dict,), None, True, True, "labels its node must have", _selector),
    "placement_group": Option((object,), None, True, True, "deprecated: its group", _group),
    "placement_group_bundle_index": Option((int,), None, True, True, "deprecated: its bundle"),
    "placement_group_capture_child_tasks": Option(
        (bool,), None, True, True, "deprecated: what it submits goes into the group, too"
    ),
}
METHOD_OPTIONS = (
    "name", "num_returns", "max_task_retries", "retry_exceptions", "concurrency_group",
    "_generator_backpressure_num_objects",
)  # fmt: skip


def groups_of(value: Any) -> dict[str, int]:
    """``concurrency_groups`` as a dict; a list of ``{"name": …, "max_concurrency": …}`` too.

    >>> groups_of([{"name": "io", "max_concurrency": 2}])
    {'io': 2}
    """
    if not isinstance(value, list):
        return dict(value or {})
    try:
        return {entry["name"]: entry["max_concurrency"] for entry in value}
    except (KeyError, TypeError):
        raise ValueError(
            "concurrency_groups is a dict of name to limit, or a list of "
            f"{{'name': …, 'max_concurrency': …}}; got {value!r}."
        ) from None


def check(options: dict[str, Any], kind: str) -> dict[str, Any]:
    """Validate keyword options of a function (kind "task") or class (kind "actor").

    Returns them without the ``None`` values, which mean "the default". Raises ValueError, TypeError
    or UnsupportedError.

    >>> check({"num_cpus": 2, "name": None}, "task")
    {'num_cpus': 2}
    """
    what = "remote functions" if kind == "task" else "actors"
    valid = {}
    for name, value in options.items():
        row = OPTIONS.get(name)
        if row is None or not (row.tasks if kind == "task" else row.actors):
            raise ValueError(f"Invalid option keyword {name} for {what}.")
        if value is None:
            continue
        _check_value(name, row, value)
        if name == "name" and kind == "actor":
            _actor_name(name, value)
        valid[name] = value
    if valid.get("placement_group") == "default":
        del valid["placement_group"]
    if "placement_group" in valid and "scheduling_strategy" in valid:
        raise ValueError("placement_group= and scheduling_strategy= cannot be combined.")
    if kind == "actor" and valid.get("get_if_exists") and "name" not in valid:
        raise ValueError("get_if_exists=True needs the actor's name=.")
    return valid


def _check_value(name: str, row: Option, value: Any) -> None:
    wrong_bool = isinstance(value, bool) and bool not in row.types and object not in row.types
    if wrong_bool or not isinstance(value, row.types):
        wanted = " or ".join(t.__name__ for t in row.types)
        raise TypeError(
            f"The type of keyword '{name}' must be {wanted}, got {type(value).__name__}."
        )
    if row.check is not None:
        row.check(name, value)


def check_method(options: dict[str, Any]) -> dict[str, Any]:
    """Validate options of one actor call, or of ``@fanlight.method``."""
    valid = {}
    for name, value in options.items():
        if name not in METHOD_OPTIONS:
            raise ValueError(f"Invalid option keyword {name} for actor methods.")
        if value is not None:
            _check_value(name, OPTIONS[name], value)
            valid[name] = value
    return valid


def demand(options: dict[str, Any], default_cpus: float) -> dict[str, int]:
    """Resources that ``options`` ask for, in the core's integer units, zeros left out.

    >>> demand({"num_gpus": 0.5}, default_cpus=1)
    {'CPU': 10000, 'GPU': 5000}
    """
    amounts = {"CPU": options.get("num_cpus", default_cpus)}
    if "num_gpus" in options:
        amounts["GPU"] = options["num_gpus"]
    if "memory" in options:
        amounts["memory"] = options["memory"]
    if "accelerator_type" in options:
        amounts[f"accelerator_type:{options['accelerator_type']}"] = _PIN
    amounts.update(options.get("resources", {}))
    return {name: round(amount * UNITS) for name, amount in amounts.items() if amount}


def max_calls(options: dict[str, Any]) -> int:
    """How often one process may run the function, 0 for no limit.

    Once, by default, for functions with GPUs: most libraries give a GPU's memory back only when
    their process ends.

    >>> max_calls({"num_gpus": 0.5}), max_calls({"num_gpus": 1, "max_calls": 0}), max_calls({})
    (1, 0, 0)
    """
    calls: int = options.get("max_calls", 1 if options.get("num_gpus") else 0)
    return calls


def actor_demand(options: dict[str, Any]) -> tuple[dict[str, int], int]:
    """What an actor holds for life, and the CPU that must exist to place it.

    By default an actor holds nothing but needs a CPU to be placed; as soon as it asks for any
    resource but memory, it holds one CPU too.
    """
    explicit = "num_cpus" in options
    asks = any(options.get(key) for key in ("num_gpus", "resources", "accelerator_type"))
    held = demand(options, default_cpus=1 if asks and not explicit else 0)
    placement = 0 if explicit or asks else UNITS
    return held, placement
