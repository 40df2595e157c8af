"""Figures in words that people read: durations and sizes, in texts and pictures."""

from __future__ import annotations


def seconds(value: float) -> str:
    """A duration for people.

    >>> [seconds(s) for s in (0.0000004, 0.00123, 0.5, 3.14159, 75, 4000)]
    ['0 s', '1.2 ms', '500 ms', '3.1 s', '1 min 15 s', '1 h 06 min']
    """
    if value < 1e-6:
        return "0 s"
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.1f} ms" if value < 0.01 else f"{value * 1e3:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float) -> str:
    """Bytes for people.

    >>> [size(n) for n in (12, 1500, 8_000_000, 250e9)]
    ['12 B', '1.5 kB', '8.0 MB', '250 GB']
    """
    value, units = float(count), ["TB", "GB", "MB", "kB", "B"]
    unit = units.pop()
    while value >= 1000 and units:
        value /= 1000
        unit = units.pop()
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
