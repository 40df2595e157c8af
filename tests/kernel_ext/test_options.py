"""The option table: parsing, errors that help, help text and completion from one place."""

from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.error import UsageError

from fanlight_kernel import reference
from fanlight_kernel.commands import COMMANDS
from fanlight_kernel.commands import find as find_command
from fanlight_kernel.commands import help_text as commands_help
from fanlight_kernel.completion import complete, takes_python
from fanlight_kernel.options import (
    CELL_OPTIONS,
    help_text,
    parse_cell,
    parse_line,
    parse_size,
    split,
)


def test_every_kind_of_option() -> None:
    given = parse_cell(
        "--in a,b c --out=d --refs --bg job --each seed=range(0, 100) --num-cpus 0.5 --num-gpus 1 "
        '--resources {"license": 1} --retries 2 --timeout 1.5 --name "my cell" --quiet '
        "--memory 1.5GiB --env A=1 --env B='x y' --env \"C=d e=f\" --env=D="
    ).given
    assert given == {
        "in": ["a", "b", "c"],
        "out": ["d"],
        "refs": True,
        "bg": "job",
        "each": ("seed", "range(0, 100)"),
        "num_cpus": 0.5,
        "num_gpus": 1,
        "resources": {"license": 1},
        "retries": 2,
        "timeout": 1.5,
        "name": "my cell",
        "quiet": True,
        "memory": 3 << 29,
        "env": {"A": "1", "B": "x y", "C": "d e=f", "D": ""},
    }


def test_nothing_given_is_nothing() -> None:
    options = parse_cell("")
    assert options.given == {}
    assert options.bg is None
    assert parse_cell("--bg").bg is True
    assert parse_cell("--bg --quiet").bg is True
    assert parse_cell("--out --quiet").given == {"out": [], "quiet": True}
    assert parse_cell("--on gpu-0.b").on == "gpu-0.b"


def test_sizes() -> None:
    sizes = {"64k": 64_000, "500MB": 500_000_000, "2 G": 2 * 10**9, "1gib": 1 << 30, "7": 7}
    assert {text: parse_size(text) for text in sizes} == sizes


def test_a_line_has_options_in_front_of_its_expression() -> None:
    options, rest = parse_line("--on g --in a,b --quiet f(x,  'a  --b')")
    assert options.given == {"on": "g", "in": ["a", "b"], "quiet": True}
    assert rest == "f(x,  'a  --b')"
    assert parse_line("x = f(1)")[1] == "x = f(1)"
    with pytest.raises(UsageError, match="%remote: unknown option --cpus"):
        parse_line("--cpus 2 f(x)")
    with pytest.raises(UsageError, match="%remote: --on NAME needs a value"):
        parse_line("--on")


def test_words_keep_brackets_and_quotes_together() -> None:
    assert split("--each x=[1, (2, 3)] --name 'a b'") == [
        "--each",
        "x=[1, (2, 3)]",
        "--name",
        "'a b'",
    ]
    assert parse_cell("--each=x=range(3)").each == ("x", "range(3)")
    assert parse_cell("""--each 'x=f(1, "a")'""").each == ("x", 'f(1, "a")')


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--cpus 2", "Did you mean --num-cpus"),
        ("--num-cpu 2", "Did you mean --num-cpus"),
        ("--background", "unknown option --background"),
        ("--on", "--on NAME needs a value"),
        ("--on 0gpu", "not a name for a namespace"),
        ("--env K", "must look like OMP_NUM_THREADS=4"),
        ("--env 1K=V", "must look like OMP_NUM_THREADS=4"),
        ("--memory lots", "not a size such as 500MB"),
        ("--memory 0", "more than nothing"),
        ("--on a --local", "--local and --on do not go together"),
        ("--on a --retries 1", "a second run would meet what the first one left"),
        ("--resource {}", "Did you mean --resources"),
        ("-q", "unknown option -q. Did you mean --quiet"),
        ("data", "'data' is not an option"),
        ("--num-cpus", "--num-cpus N needs a value"),
        ("--num-cpus two", "'two' is not a number"),
        ("--num-cpus -1", "not negative"),
        ("--retries 1.5", "whole number"),
        ("--each seed", "must look like seed=range(100)"),
        ("--each seed=range(", "unclosed bracket"),
        ("--each seed=1+", "not an expression"),
        ("--resources 5", "JSON object of numbers"),
        ("--resources {a}", "must be JSON"),
        ("--in 3x", "'3x' is not a variable name"),
        ("--refs=1", "--refs takes no value"),
        ("--name 'x", "unclosed quote"),
        ("--local --bg", "--local and --bg do not go together"),
    ],
)
def test_errors_say_what_to_do(line: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_cell(line)
    assert message in str(error.value)


def test_help_names_every_option() -> None:
    text = help_text()
    for option in CELL_OPTIONS:
        assert option.usage in text
        assert option.help in text


SOURCES = {
    "variables": lambda: ["data", "dates", "other"],
    "namespaces": lambda: ["gpu0", "gpu1", "cpu"],
    "settings": lambda: ["monitor="],
}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("%%remote --num-", ["--num-cpus", "--num-gpus"]),
        ("%%remote --in da", ["data", "dates"]),
        ("%%remote --in other,da", ["data", "dates"]),
        ("%%remote --in=oth", ["other"]),
        ("%%remote --on gpu", ["gpu0", "gpu1"]),
        ("%%remote --on=c", ["cpu"]),
        ("%%remote --timeout ", []),
        ("%%remote --on gpu0 --nam", ["--name"]),
        ("%%remote --env A=1 --en", ["--env"]),
        ("%%remote --quiet --qui", []),
        ("%%rem", []),
        ("%remote --on g", ["gpu0", "gpu1"]),
        ("%remote --on gpu0 da", ["data", "dates"]),
        ("%remote f(da", ["data", "dates"]),
        ("%remote data.co", []),
        ("%fanlight sta", ["status", "start"]),
        ("%fanlight namespaces ", ["vars", "restart", "remove"]),
        ("%fanlight namespace vars g", ["gpu0", "gpu1"]),
        ("%fanlight namespaces remove gpu0 g", ["gpu1"]),
        ("%fanlight namespaces restart gpu0 --num-", ["--num-cpus", "--num-gpus"]),
        ("%fanlight start --en", ["--engine"]),
        ("%fanlight monitor o", ["on", "off"]),
        ("%fanlight config m", ["monitor="]),
        ("%fanlight nowhere x", []),
        ("x = 1", []),
    ],
)
def test_completion(line: str, found: list[str]) -> None:
    assert complete(line, SOURCES) == found


def test_completion_offers_what_is_left() -> None:
    offered = complete("%%remote --num-cpus 2 ")
    assert "--each" in offered
    assert "--num-cpus" not in offered
    assert "--out" in complete("%%remote --in data ", SOURCES)


def test_pythons_names_are_offered_only_where_they_may_stand() -> None:
    assert takes_python("%%remote --each seed=ra")
    assert takes_python("%remote f(")
    assert not takes_python("%%remote --num-cpus ")
    assert not takes_python("%fanlight ")


def test_commands_are_found_by_their_words() -> None:
    assert find_command("")[0].name == "status"
    assert find_command("namespaces")[0].name == "namespaces"
    command, rest = find_command("  namespace restart gpu0 --num-gpus 1")
    assert (command.name, rest) == ("namespaces restart", "gpu0 --num-gpus 1")
    with pytest.raises(UsageError, match=r"unknown command 'fly'\. There are status, start"):
        find_command("fly")
    with pytest.raises(UsageError, match=r"'fly'\. There are vars, restart, remove"):
        find_command("namespaces fly")
    text = commands_help()
    for command in COMMANDS:
        assert f"%fanlight {command.name}" in text
        assert command.help in text


def test_the_reference_page_is_what_the_tables_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "magics.md"
    assert page.read_text(encoding="utf-8") == reference.page(), (
        "python -m fanlight_kernel.reference docs/magics.md"
    )
    assert reference.DETAILS.keys() == {option.flag for option in CELL_OPTIONS}
    assert {option.group for option in CELL_OPTIONS} == {*reference.GROUPS}
