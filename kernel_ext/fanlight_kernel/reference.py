"""The reference page of the magics, ``docs/magics.md``, from the tables that the magics use.

    python -m fanlight_kernel.reference docs/magics.md

A test fails when the page is not what this writes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fanlight_kernel.commands import COMMANDS, Command
from fanlight_kernel.options import CELL_OPTIONS, HOW, INOUT, SHOWN, TAKES, Option

INTRO = """\
# The magics: `%%remote`, `%remote`, `%fanlight`

<!-- Written by `python -m fanlight_kernel.reference docs/magics.md`: change that, not this. -->

`%load_ext fanlight` gives a notebook, or IPython, three magics. A cell that begins with `%%remote`
runs in another process; the rest of the notebook need not know.

```python
%%remote
total = sum(x * x for x in data)     # `data` goes there, `total` comes back
total                                # and is shown, as the last line of any cell is
```

In a notebook, `%%remote?` shows the options, and the Tab key completes them and their values.

## What happens

- **What the cell reads goes there.** Variables, functions and classes are found by reading the
  cell and whatever its functions use. Modules are imported there. Large values are stored once:
  a cell that is run again sends nothing that has not changed.
- **What the cell assigns comes back**, and is bound here as if the cell had run here. Large NumPy
  arrays are shared without a copy, and therefore read-only: `x = x.copy()` gives one of your own.
- **What it prints or displays** appears under the cell, while it runs.
- **What it raises** is raised here, with the cell's own lines in the traceback.

### The cell gets copies

The other process has memory of its own. A list that the cell changes in place is a copy; the list
here stays as it was, and a note under the cell says so:

```python
%%remote
data.append(4)              # note: the cell changed a copy of `data` …
```

Either assign the result (`data = data + [4]`), or name the variable: `--out data` brings the
changed copy back. What cannot be copied, such as an open file, a lock, a generator or a database
connection, is refused with its name and a way out: make it inside the cell, or keep it in a
[namespace](#namespaces---on).

### Interrupting

The stop button, or Ctrl-C, raises `KeyboardInterrupt` in the cell there. What does not end within
about a second, or a second interrupt, has its process killed. Nothing is left running, and the
next cell runs as if nothing had happened. (In a namespace the first interrupt kills nothing:
[see there](#namespaces---on).)

## `%%remote`: options
"""

GROUPS = (INOUT, HOW, TAKES, SHOWN)

DETAILS: dict[str, str] = {
    "--in": "Functions that are sent bring along what they use. `--in` alone sends nothing.",
    "--out": "Also brings back what the cell changed in place. `--out` alone brings back nothing.",
    "--refs": "A ref is a promise of a value that stays in the store: pass it on to tasks or other "
    "cells, and nothing is copied here. `fanlight.get(ref)` fetches it.",
    "--bg": "The cell's progress goes on under it. `NAME.result()` waits and returns the outputs "
    "by name, `NAME.cancel()` stops it.",
    "--each": "`EXPR` is evaluated here. As many runs go on at once as there are CPUs for. With "
    "`--on` they run one after the other, and an error stops the rest.",
    "--on": "See [Namespaces](#namespaces---on).",
    "--retries": "Counts each run of `--each` by itself. Not with `--on`, where a second run would "
    "meet what the first one left.",
    "--timeout": "Like an interrupt, after that time. Fractions are fine.",
    "--local": "The same cell without another process: for trying things out, and for debuggers.",
    "--num-cpus": "How many runs go on at once depends on it; it does not limit what a run uses.",
    "--num-gpus": "`CUDA_VISIBLE_DEVICES` says there which ones. A fraction shares a GPU.",
    "--resources": 'Any names that the runtime was started with: `--resources {"license": 1}`.',
    "--memory": "A reservation, by which cells wait for each other; not a limit. 1G is 10⁹ bytes, "
    "1GiB is 2³⁰.",
    "--env": "Give it again for more: `--env OMP_NUM_THREADS=4 --env GREETING='hello there'`. The "
    "process is one of its own kind, so the first such cell takes a moment.",
    "--name": "Quotes allow blanks: `--name 'train the model'`.",
    "--dry-run": "Names, types and sizes; nothing runs.",
    "--quiet": "What the cell itself prints still appears.",
}

LINE = """\
## `%remote`: one expression

```python
%remote slow(data)                   # shown, like any last line
best = %remote max(map(score, data)) # or assigned
%remote --on gpu0 model.summary()    # with options in front
```

The options are those of `%%remote`, each with its value in one word (`--in a,b`).

## Namespaces: `--on`

A plain `%%remote` cell leaves nothing behind in its process: no variables, and the directory and
the environment are again as they were. A cell with `--on NAME` runs in a *namespace*: a process of
its own that stays, with everything the cell assigned, for the next cell on it. It is made by the
first cell that names it.

```python
%%remote --on gpu0 --num-gpus 1
import torch
model = Net().cuda()                 # stays on the GPU, in gpu0
```
```python
%%remote --on gpu0
loss = train(model, rate)            # `model` is there; `rate` is sent; `loss` comes back
```

**Whose variable is it?** A name belongs to whoever assigned it last.

- What a cell *assigned there* is the namespace's own. Cells on it use that one, also when the
  notebook has another variable of that name; a note says so. `--in NAME` sends the notebook's.
- What was *sent along* stays the notebook's. Assign it anew here, or define the function again, and
  the next cell has the new one. While it stays the same here, the copy there is not sent over,
  and keeps what cells changed in it.
- What the notebook alone has is sent, as for any cell.

**What comes back?** What the cell assigns is bound here, as for any cell; `--out` limits it. What
cannot be sent (a model on a GPU, a socket, a generator, an open file) simply stays there, and a
note says so: that is what a namespace is for. `del x` there deletes the notebook's `x` as well, if
it is the one that came from there.

**Order.** Cells on one namespace run one after the other, those in the background (`--bg`) too.
Different namespaces run side by side.

**Errors** leave what the cell had assigned until then, as in Python. `sys.exit()` ends the cell.

**Interrupts.** The first raises `KeyboardInterrupt` in the cell; the variables stay. A second one
ends the process, and a message names the variables that are lost. A cell that does not heed the
first (it is in C code, say) is left to itself after two seconds: its namespace is busy until it
ends, and `%fanlight namespaces restart NAME` ends it at once.

**When its process dies**, the cell, or the next one on it, fails with an error that says why and
which variables are lost. The cell after that starts it anew. Nothing runs on an empty namespace
without you being told.

**What it takes** is fixed when it is made: `--num-cpus`, `--num-gpus`, `--resources`, `--memory`
and `--env`. It holds that until it is removed, and by default it holds no CPU, so that the other
cells have them all. A later cell that asks for something else is refused, with the command that
starts it anew with that.

A namespace lives until it is removed, the runtime stops, or the notebook's kernel ends. Two
notebooks never share one, even when they share a runtime. With `engine="inproc"`, for debugging, it
is no process, and cannot be killed.

From Python:

```python
from fanlight_kernel import namespaces

namespaces.listing()  # a table
gpu0 = namespaces.get("gpu0")
gpu0.variables()  # a table
gpu0.restart(num_gpus=2)
gpu0.remove()
```

## `%fanlight`
"""

SETTINGS = """\
## Settings

`%fanlight config` shows them, `%fanlight config monitor_delay=2` changes one for this kernel. For
all notebooks, write them into IPython's configuration: `c.FanlightMagics.monitor_delay = 2`.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for group in GROUPS:
        parts.append(f"### {group}\n")
        parts.append(_options([option for option in CELL_OPTIONS if option.group == group]))
    parts.append(LINE)
    parts.append(_commands())
    parts += [_of(command) for command in COMMANDS if len(command.takes) > 1]
    parts.append(SETTINGS)
    parts.append(_settings())
    return "\n".join(parts)


def _options(options: list[Option]) -> str:
    rows = [(f"`{o.usage}`", f"{_sentence(o.help)} {DETAILS.get(o.flag, '')}") for o in options]
    return _table(("option", "what it does"), rows)


def _commands() -> str:
    rows = [(f"`%fanlight {f'{c.name} {c.usage}'.strip()}`", _sentence(c.help)) for c in COMMANDS]
    return _table(("command", "what it does"), rows)


def _of(command: Command) -> str:
    rows = [(f"`{o.usage}`", _sentence(o.help)) for o in command.takes]
    return f"Options of `%fanlight {command.name}`:\n\n" + _table(("option", ""), rows)


def _settings() -> str:
    from fanlight_kernel.magics import FanlightMagics

    traits = FanlightMagics.class_traits(config=True)
    own = {name: trait for name, trait in traits.items() if name in vars(FanlightMagics)}
    rows = [(f"`{n}`", f"`{t.default_value}`", _sentence(t.help)) for n, t in own.items()]
    return _table(("setting", "default", "what it does"), rows)


def _sentence(text: str) -> str:
    text = f"{text[:1].upper()}{text[1:]}"
    return text if text.endswith((".", "…")) else f"{text}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    text = (" | ".join(cell.strip().replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in text)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
