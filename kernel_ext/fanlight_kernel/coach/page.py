"""``docs/coach.md``, from the table of rules: ``python -m fanlight_kernel.coach.page > docs/coach.md``."""

from __future__ import annotations

from fanlight_kernel.coach.facts import Limits
from fanlight_kernel.coach.rules import RULES, Rule
from fanlight_kernel.coach.show import OFF

HEAD = """\
# The coach

<!-- Written by `python -m fanlight_kernel.coach.page`, not by hand. -->

When a cell does something that makes distributed Python slow, the notebook says so under that cell:
what was measured, where, and what to write instead.

- A hint is given for what happened, not for what the code looks like: times, sizes and run times are
  measured while the cell runs. "Would have taken" is computed from the recorded run times and the
  CPUs that the runtime has, never more than the machine has.
- Each kind is shown once for each run of a cell. A cell that runs for long gets it while it runs.
- Nothing is said below a loss of {seconds:g} s or of {part:.0f} % of the cell's time, nor where the
  code cannot be understood for certain.
- `{off}` turns all of it off, `= True` on again. Nothing is recorded while it is off.
- In a terminal hints are plain text. With `engine="inproc"`, which runs one task at a time in the
  notebook's own process, those about time and processes are left out where they make no sense.

| hint | what it is about |
|---|---|
"""


def page() -> str:
    """The page, as it must stand in ``docs/coach.md``."""
    limits = Limits()
    parts = [HEAD.format(seconds=limits.seconds, part=100 * limits.part, off=OFF)]
    for rule in RULES.values():
        about = rule.why.partition(". ")[0].partition(": ")[0].rstrip(".")
        parts.append(f"| [{rule.title}](#{rule.key}) | {about} |\n")
    parts += map(_section, RULES.values())
    return "".join(parts)


def _section(rule: Rule) -> str:
    title = rule.title[0].upper() + rule.title[1:]
    return (
        f'\n<a id="{rule.key}"></a>\n\n## {title}\n\n{rule.why}\n\n*Evidence.* {rule.seen}\n\n'
        f"```python\n# slow\n{rule.wrong}\n```\n\n```python\n# better\n{rule.right}\n```\n"
    )


if __name__ == "__main__":
    print(page(), end="")
