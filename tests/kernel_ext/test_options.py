"""The option table: parsing, errors that help, help text and completion from one place."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from fanlight_kernel.options import CELL_OPTIONS, complete, help_text, parse_cell, split


def test_every_kind_of_option() -> None:
    given = parse_cell(
        "--in a,b c --out=d --refs --bg job --each seed=range(0, 100) --num-cpus 0.5 --num-gpus 1 "
        '--resources {"license": 1} --retries 2 --timeout 1.5 --name "my cell" --quiet'
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
    }


def test_nothing_given_is_nothing() -> None:
    options = parse_cell("")
    assert options.given == {}
    assert options.bg is None
    assert parse_cell("--bg").bg is True
    assert parse_cell("--bg --quiet").bg is True


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
        ("--on gpu0", "unknown option --on"),
        ("--env K=V", "unknown option --env"),
        ("--memory 1G", "unknown option --memory"),
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


def test_completion() -> None:
    assert complete("%%remote --num-") == ["--num-cpus", "--num-gpus"]
    assert "--num-cpus" not in complete("%%remote --num-cpus 2 --")
    assert complete("%%remote --in da", lambda: ["data", "other"]) == ["data"]
    assert complete("%%remote --in a,da", lambda: ["data"]) == ["a,data"]
    assert complete("%%remote --timeout ") == []
    assert "--each" in complete("%%remote ")
