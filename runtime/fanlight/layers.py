"""A layered layout of a graph: what is made first stands above, lines point down.

Small, deterministic, and without any library. Cycles (functions that feed each other) are opened at
the edge that closes them; a layer with many nodes is broken into rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

ROW = 24  # nodes beside each other
_SWEEPS = 4


class Layout(NamedTuple):
    """Places in units of one node: ``x`` to the right, ``y`` downwards, both from 0."""

    places: list[tuple[float, float]]
    width: float
    height: float


def layered(count: int, edges: Iterable[tuple[int, int]], row: int = ROW) -> Layout:
    """Places of the nodes 0 … ``count - 1``.

    >>> layered(3, [(0, 2), (1, 2)]).places
    [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0)]
    """
    below: list[list[int]] = [[] for _ in range(count)]
    for source, target in dict.fromkeys(edges):
        if source != target:
            below[source].append(target)
    below = _without_cycles(below)
    above: list[list[int]] = [[] for _ in range(count)]
    for source, targets in enumerate(below):
        for target in targets:
            above[target].append(source)
    layers = _ordered(_layers(below, above), above, below)
    rows = [layer[i : i + row] for layer in layers for i in range(0, len(layer), row)]
    width = max(map(len, rows), default=0)
    places = [(0.0, 0.0)] * count
    for y, nodes in enumerate(rows):
        left = (width - len(nodes)) / 2
        for i, node in enumerate(nodes):
            places[node] = (left + i, float(y))
    return Layout(places, float(width), float(len(rows)))


def _without_cycles(below: list[list[int]]) -> list[list[int]]:
    """The same without edges that lead back to where a walk came from."""
    new, open_, done = 0, 1, 2
    state = [new] * len(below)
    kept: list[list[int]] = [[] for _ in below]
    for start in range(len(below)):
        if state[start] != new:
            continue
        state[start] = open_
        path = [(start, iter(below[start]))]
        while path:
            node, targets = path[-1]
            for target in targets:
                if state[target] == open_:
                    continue
                kept[node].append(target)
                if state[target] == new:
                    state[target] = open_
                    path.append((target, iter(below[target])))
                    break
            else:
                state[node] = done
                path.pop()
    return kept


def _layers(below: Sequence[Sequence[int]], above: Sequence[Sequence[int]]) -> list[list[int]]:
    """Each node below all that it is made of; what is used late stands near its use."""
    order = [node for node, sources in enumerate(above) if not sources]
    missing = [len(sources) for sources in above]
    depth = [0] * len(below)
    for node in order:  # grows as it goes
        for target in below[node]:
            depth[target] = max(depth[target], depth[node] + 1)
            missing[target] -= 1
            if not missing[target]:
                order.append(target)
    for node in reversed(order):
        if not above[node] and below[node]:
            depth[node] = min(depth[target] for target in below[node]) - 1
    layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for node in range(len(below)):
        layers[depth[node]].append(node)
    return layers


def _ordered(
    layers: list[list[int]], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Fewer crossings: nodes stand where their neighbours do; equals keep their order."""
    position: dict[int, float] = {}
    for layer in layers:
        _note(layer, position)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            near = above if down else below
            middle = {
                node: sum(position[n] for n in near[node]) / len(near[node])
                for node in layer
                if near[node]
            }
            layer.sort(key=lambda node: middle.get(node, position[node]))
            _note(layer, position)
    return layers


def _note(layer: list[int], position: dict[int, float]) -> None:
    """Places within a layer, from 0 to 1, so that layers of different lengths compare."""
    for i, node in enumerate(layer):
        position[node] = (i + 0.5) / len(layer)
