"""What axe-core finds wrong with a part of a page: roles, names, contrast, order, and so on."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def problems(page: Page, *selectors: str) -> list[str]:
    """One line for each element of these parts that breaks a rule of WCAG 2.2 AA."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[dict[str, Any]] = page.evaluate(
        """async ([include, values]) => {
            const options = {
                runOnly: { type: 'tag', values },
                rules: { 'heading-order': { enabled: false } }, // depends on what stands around
                resultTypes: ['violations']
            };
            const { violations } = await axe.run({ include }, options);
            return violations.flatMap(({ id, nodes }) =>
                nodes.map(node => ({ id, html: node.html, why: node.failureSummary })));
        }""",
        [[[selector] for selector in selectors], RULES],
    )
    return [f"{one['id']}: {one['html'][:160]} — {' '.join(one['why'].split())}" for one in found]


def check(page: Page, *selectors: str) -> None:
    """Fail with everything that is wrong there."""
    found = problems(page, *selectors)
    assert not found, "\n".join(found)
