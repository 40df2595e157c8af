"""The coach: hints about what makes distributed Python slow, from what a cell really did.

``facts`` are what is known of one run of a cell, ``reading`` understands its code, ``gets``, ``sizes``
and ``work`` hold the rules, ``rulebook`` asks them all: pure, and tested without any runtime.
``coach`` gathers the facts in a notebook, ``show`` draws; ``rules`` is the table that texts and
``docs/coach.md`` are made from.
"""

from __future__ import annotations

from fanlight_kernel.coach.coach import Coach

__all__ = ["Coach"]
