"""Labels of nodes, and selectors of them: ``{"zone": "in(a, b)", "spot": "!yes"}``."""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")
_RESERVED = "ray.io/"
_LONGEST = 63


def check_name(name: Any) -> None:
    """Raises ValueError for what cannot be a label's name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 4 * _LONGEST:
        raise ValueError(
            f"{name!r} cannot be a label's name: those are letters, digits and . _ - with an "
            "optional prefix/."
        )


def check_value(what: str, value: Any) -> None:
    """Raises ValueError for what cannot be a label's value."""
    if not isinstance(value, str) or not _VALUE.fullmatch(value) or len(value) > _LONGEST:
        raise ValueError(
            f"{what} cannot be {value!r}: labels have at most {_LONGEST} letters, digits and . _ -"
        )


def check_labels(labels: Any) -> dict[str, str]:
    """Labels for a node, as users give them. Raises TypeError or ValueError.

    >>> check_labels({"zone": "a"})
    {'zone': 'a'}
    """
    if not isinstance(labels, dict):
        raise TypeError(f"labels must be a dict of strings, got {labels!r}.")
    for name, value in labels.items():
        check_name(name)
        if name.startswith(_RESERVED):
            raise ValueError(f"labels must not name {name!r}: {_RESERVED}… belongs to the runtime.")
        check_value(f"labels[{name!r}]", value)
    return dict(labels)


def selector_rules(selector: dict[str, str]) -> dict[str, list[str]]:
    """What a selector asks for: the kind of rule and its values, by label. Raises ValueError.

    >>> selector_rules({"zone": "in(a, b)", "spot": "!yes"})
    {'zone': ['in', 'a', 'b'], 'spot': ['!in', 'yes']}
    """
    rules = {}
    for name, text in selector.items():
        check_name(name)
        if not isinstance(text, str):
            raise ValueError(f"label_selector[{name!r}] must be a string, got {text!r}.")
        kind = "!in" if text.startswith("!") else "in"
        rest = text.removeprefix("!").strip()
        inner = re.fullmatch(r"in\((.*)\)", rest)
        values = [part.strip() for part in inner[1].split(",")] if inner else [rest]
        for value in values:
            if not value:
                raise ValueError(f"label_selector[{name!r}] is {text!r}: a value is missing.")
            check_value(f"label_selector[{name!r}]", value)
        rules[name] = [kind, *values]
    return rules
