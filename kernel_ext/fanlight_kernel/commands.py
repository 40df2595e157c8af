"""The commands of ``%fanlight``: one table for running, help, completion and the reference."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError
from IPython.display import display

from fanlight import look
from fanlight_kernel import options, recording
from fanlight_kernel.namespaces import views as namespace_views
from fanlight_kernel.options import CELL_OPTIONS, TAKES, Option, parse_size
from fanlight_kernel.widgets import render

START_OPTIONS: tuple[Option, ...] = (
    Option(
        "--num-cpus", "value", "CPUs to schedule on (default: this machine's)", "N", options.number
    ),
    Option(
        "--num-gpus", "value", "GPUs to schedule on (default: those found)", "N", options.number
    ),
    Option(
        "--resources", "value", 'other resources, as {"name": amount}', "JSON", options.resources
    ),
    Option("--memory", "value", "memory that processes and objects may use", "SIZE", parse_size),
    Option("--object-store-memory", "value", "shared memory for objects", "SIZE", parse_size),
    Option("--name", "value", "what the panel calls the runtime", "NAME", options.label),
    Option("--address", "value", 'a runtime that is there: "auto", or its name', "ADDRESS"),
    Option("--engine", "value", "local (processes) or inproc (all in the kernel)", "NAME"),
)
_HELD = {
    "--num-cpus": "CPUs that it holds as long as it lives (default 0)",
    "--num-gpus": "GPUs that it holds as long as it lives",
    "--env": "set an environment variable there; may be given again",
}
NAMESPACE_OPTIONS = tuple(
    dataclasses.replace(option, help=_HELD.get(option.flag, option.help))
    for option in CELL_OPTIONS
    if option.group == TAKES
)


@dataclass(frozen=True)
class Command:
    """One command: ``method`` of :class:`Commands` is called with the rest of the line."""

    name: str
    usage: str  # what follows the name
    help: str
    method: str
    takes: tuple[Option, ...] = ()  # its options
    values: tuple[str, ...] = ()  # words that may follow, or "<namespaces>", "<variables>"


COMMANDS: tuple[Command, ...] = (
    Command("status", "", "engine, workers, resources, object store", "status"),
    Command("start", "[options]", "start a runtime, or join one", "start", START_OPTIONS),
    Command("stop", "", "end the runtime, and everything that runs in it", "stop"),
    Command("restart", "", "end the runtime, and start one with the same options", "restart"),
    Command("scale", "N", "have N CPUs to schedule on, and as many workers", "scale"),
    Command(
        "namespaces", "", "the namespaces of --on: state, process, memory, variables", "spaces"
    ),
    Command(
        "namespaces vars",
        "NAME",
        "the variables of a namespace: types, sizes, values",
        "space_vars",
        values=("<namespaces>",),
    ),
    Command(
        "namespaces restart",
        "NAME [options]",
        "end its process and start it again, without variables",
        "space_restart",
        NAMESPACE_OPTIONS,
        values=("<namespaces>",),
    ),
    Command(
        "namespaces remove",
        "NAME …",
        "end namespaces; --all ends all of them",
        "space_remove",
        (Option("--all", "flag", "all of them"),),
        values=("<namespaces>",),
    ),
    Command(
        "timeline", "[FILE]", "when which task ran; into a FILE, as a Chrome trace", "timeline"
    ),
    Command(
        "record",
        "[FILE]|stop",
        "record what the runtime does into a FILE, to play it later",
        "record",
        values=("stop",),
    ),
    Command(
        "replay",
        "FILE",
        "open a recording; --html writes a page that plays it anywhere",
        "replay",
        recording.REPLAY_OPTIONS,
    ),
    Command("graph", "", "which tasks depend on which", "picture"),
    Command("memory", "", "the object store: what is in it, and who holds it", "picture"),
    Command(
        "why",
        "NAME",
        "why a ref, an actor, a namespace waits",
        "why",
        values=("<variables>",),
    ),
    Command("panel", "", "show the panel (in JupyterLab and Notebook 7)", "panel"),
    Command("monitor", "on|off", "live monitors under cells", "monitor", values=("on", "off")),
    Command(
        "coach",
        "on|off",
        "hints under cells that do what makes them slow",
        "coach",
        values=("on", "off"),
    ),
    Command("config", "[NAME=VALUE]", "the extension's settings: show or change them", "config"),
    Command("help", "", "this text", "help"),
)


def find(line: str) -> tuple[Command, str]:
    """The command of a line, and the rest of it. Raises UsageError."""
    words = line.split()
    if not words:
        return COMMANDS[0], ""
    first = "namespaces" if words[0] == "namespace" else words[0]
    rest = line.strip()[len(words[0]) :].strip()
    if len(words) > 1:
        for command in COMMANDS:
            if command.name == f"{first} {words[1]}":
                return command, rest[len(words[1]) :].strip()
        seconds = [c.name.split()[1] for c in COMMANDS if c.name.startswith(f"{first} ")]
        if seconds:
            raise UsageError(
                f"%fanlight {first}: unknown command {words[1]!r}. There are {', '.join(seconds)}; "
                f"%fanlight {first} alone lists them."
            )
    for command in COMMANDS:
        if command.name == first:
            return command, rest
    known = ", ".join(dict.fromkeys(c.name.split()[0] for c in COMMANDS))
    raise UsageError(f"%fanlight: unknown command {words[0]!r}. There are {known}.")


def help_text() -> str:
    """The docstring of ``%fanlight``."""
    width = max(len(f"{c.name} {c.usage}") for c in COMMANDS) + 2
    lines = ["Look at the runtime, start it, stop it; look after namespaces.", ""]
    lines += [f"%fanlight {f'{c.name} {c.usage}':<{width}}{c.help}" for c in COMMANDS]
    for command in COMMANDS:
        if len(command.takes) > 1:
            lines += ["", f"Options of %fanlight {command.name}:"]
            lines += [f"    {o.usage:<30}{o.help}" for o in command.takes]
    return "\n".join(lines)


class Commands:
    """What ``%fanlight`` does."""

    def __init__(self, extension: Any, magics: Any) -> None:
        self.extension = extension
        self.magics = magics

    def run(self, line: str) -> None:
        command, rest = find(line)
        method: Callable[[str, Command], None] = getattr(self, command.method)
        if rest and not (command.usage or command.takes):
            raise UsageError(f"%fanlight {command.name}: {rest!r} is too much")
        method(rest, command)

    # -- the runtime --------------------------------------------------------------------------
    def status(self, rest: str, command: Command) -> None:
        import fanlight

        display(fanlight.status())
        spaces = self.extension.namespaces.names()
        if spaces:
            show_text(f"Namespaces: {', '.join(spaces)} (%fanlight namespaces)")

    def picture(self, rest: str, command: Command) -> None:
        """What the runtime itself can show, under the same name."""
        import fanlight

        display(getattr(fanlight, command.name)())

    def timeline(self, rest: str, command: Command) -> None:
        import fanlight

        if not rest:
            return self.picture(rest, command)
        fanlight.timeline(os.path.expanduser(options.label(rest)))
        print(f"Saved to {options.label(rest)}: open it in ui.perfetto.dev.")
        return None

    def record(self, rest: str, command: Command) -> None:
        recording.record(rest)

    def replay(self, rest: str, command: Command) -> None:
        recording.replay(rest)

    def why(self, rest: str, command: Command) -> None:
        import fanlight

        if not rest:
            raise UsageError("%fanlight why: say of what, as in %fanlight why ref")
        namespace = self.extension.namespaces.find(rest)
        known = self.magics.shell.user_ns
        what = namespace if namespace and rest not in known else eval(rest, known)
        display(fanlight.why(what))

    def start(self, rest: str, command: Command) -> None:
        import fanlight

        given = options.parse(rest, START_OPTIONS, "%fanlight start").given
        if fanlight.is_initialized():
            raise UsageError(
                "%fanlight start: the runtime is running already; %fanlight stop ends it"
            )
        fanlight.init(given.pop("address", None), **given)
        self.status("", command)

    def stop(self, rest: str, command: Command) -> None:
        import fanlight
        from fanlight import session

        if not fanlight.is_initialized():
            print(session.why_gone() or "No runtime is running.")
            fanlight.shutdown()  # of what a dead one left
            return
        self.extension.puts.clear()
        self.extension.namespaces.clear()
        fanlight.shutdown()
        print("The runtime has stopped.")

    def restart(self, rest: str, command: Command) -> None:
        from fanlight import session

        self.stop(rest, command)
        session.again()
        self.status("", command)

    def scale(self, rest: str, command: Command) -> None:
        import fanlight

        try:
            fanlight.scale(options.number(rest))
        except (ValueError, TypeError) as error:
            raise UsageError(f"%fanlight scale: {error}") from None
        print(f"The runtime has {rest.strip()} CPUs to schedule on.")

    # -- namespaces ---------------------------------------------------------------------------
    def spaces(self, rest: str, command: Command) -> None:
        show(self.extension.namespaces.listing())

    def space_vars(self, rest: str, command: Command) -> None:
        name = self._one_name(rest, command)
        show(self.extension.namespaces.get(name).variables())

    def space_restart(self, rest: str, command: Command) -> None:
        name, _, given = rest.partition(" ")
        space = self.extension.namespaces.get(self._one_name(name, command))
        magic = f"%fanlight {command.name}"
        space.restart(**options.parse(given, NAMESPACE_OPTIONS, magic).given)
        print(f"{name} starts anew, without variables.")

    def space_remove(self, rest: str, command: Command) -> None:
        registry = self.extension.namespaces
        names = registry.names() if rest == "--all" else rest.split()
        if not names and rest != "--all":
            self._one_name("", command)
        for name in names:
            registry.get(name)
        for name in dict.fromkeys(names):
            registry.remove(name)
        print(
            f"Removed {', '.join(dict.fromkeys(names))}." if names else "There are no namespaces."
        )

    def _one_name(self, rest: str, command: Command) -> str:
        if len(rest.split()) != 1:
            known = ", ".join(self.extension.namespaces.names())
            there = f" ({known})" if known else ""
            raise UsageError(f"%fanlight {command.name}: say which namespace{there}")
        return rest.strip()

    # -- the notebook -------------------------------------------------------------------------
    def panel(self, rest: str, command: Command) -> None:
        where = "in the right sidebar; in the command palette it is “Fanlight: Show Panel”."
        link = (
            '<a href="#" data-commandlinker-command="fanlight:show-panel" '
            'data-commandlinker-args="{}" style="color:var(--jp-content-link-color,#1976d2)">'
            "Show the Fanlight panel</a>"
        )
        html = f'<div style="{render.FONT}">{link} – {where}</div>'
        display({"text/plain": f"The Fanlight panel is {where}", "text/html": html}, raw=True)

    def monitor(self, rest: str, command: Command) -> None:
        self._switch(rest, command, "Cell monitors are")

    def coach(self, rest: str, command: Command) -> None:
        self._switch(rest, command, "The coach is")

    def _switch(self, rest: str, command: Command, what: str) -> None:
        if rest not in ("on", "off", ""):
            raise UsageError(f"%fanlight {command.name}: say on or off")
        if rest:
            setattr(self.magics, command.name, rest == "on")
        print(f"{what} {'on' if getattr(self.magics, command.name) else 'off'}.")

    def config(self, rest: str, command: Command) -> None:
        traits = self.magics.traits(config=True)
        name, equals, text = (part.strip() for part in rest.partition("="))
        if name and name not in traits:
            raise UsageError(
                f"%fanlight config: there is no setting {name!r}. There are {', '.join(traits)}."
            )
        if equals:
            try:
                setattr(self.magics, name, traits[name].from_string(text))
            except Exception as error:
                raise UsageError(f"%fanlight config: {name}: {error}") from None
        chosen = [name] if name else list(traits)
        rows = [(n, str(getattr(self.magics, n)), str(traits[n].help)) for n in chosen]
        head = ("setting", "value", "")
        display(
            {
                "text/plain": look.text_table(rows),
                "text/html": namespace_views.table(head, rows),
            },
            raw=True,
        )

    def help(self, rest: str, command: Command) -> None:
        print(help_text())


def show_text(text: str) -> None:
    """Display a sentence about the state of things."""
    display(
        {
            "text/plain": text,
            "text/html": namespace_views.muted(text),
        },
        raw=True,
    )


def show(table: Any) -> None:
    """Display a table in both forms."""
    display({"text/plain": repr(table), "text/html": table._repr_html_()}, raw=True)
