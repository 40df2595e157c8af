r"""What a task's output looks like on a terminal: for lines that are rewritten, as progress bars do.

Understood are carriage return, backspace, colours, and the moves of the cursor within the lines
that a program has written (``tqdm`` with several bars, ``rich.progress``).

>>> screen = Screen()
>>> screen.feed("\r 50 %|#####     |\r100 %|##########|")
>>> screen.lines()
['100 %|##########|']
"""

from __future__ import annotations

import re

_TOKENS = re.compile(
    r"\x1b\[(?P<args>[0-9;?]*)(?P<code>[A-Za-z@`])"
    r"|(?P<skip>\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]\x1b])"
    r"|(?P<move>[\r\n\b])"
    r"|(?P<text>[^\x1b\r\n\b]+)"
    r"|(?P<junk>\x1b)"
)
# What plain text does not contain: all but colours.
_CONTROLS = re.compile(r"[\r\b]|\x1b(?!\[[0-9;]*m)")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;?]*|\][^\x07\x1b]*)?\Z")
_ODD = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")
ROWS = 40
COLUMNS = 500
_RESET = "\x1b[0m"


def has_controls(text: str) -> bool:
    """Whether text does more than to go on, line after line."""
    return _CONTROLS.search(text) is not None


def first_control(text: str) -> int:
    """Where in text the first one is that is no colour; its length if there is none."""
    found = _CONTROLS.search(text)
    return found.start() if found is not None else len(text)


def printable(text: str) -> str:
    r"""Text without characters that no front end shows.

    >>> printable("null: \x00, bell: \x07")
    'null: ␀, bell: ␇'
    """
    if not _ODD.search(text):
        return text
    return _ODD.sub(lambda m: chr(0x2400 + ord(m[0])) if m[0] != "\x7f" else "␡", text)


class Screen:
    """The lines that one task rewrites, with a cursor in them."""

    def __init__(self) -> None:
        self.rows: list[list[tuple[str, str]]] = []  # of (colours, character)
        self._row = 0
        self._column = 0
        self._style = ""
        self._cut = ""  # the beginning of an escape sequence

    @property
    def below(self) -> bool:
        """Whether the cursor is at the beginning of a line below all that is written."""
        return not self._cut and not self._column and self._row >= len(self.rows)

    def feed(self, text: str) -> None:
        """Take what a program wrote."""
        text = self._cut + text
        unfinished = _UNFINISHED.search(text)
        self._cut = ""
        if unfinished is not None:
            text, self._cut = text[: unfinished.start()], unfinished.group()[:100]
        for token in _TOKENS.finditer(text):
            if token["text"]:
                self._put(printable(token["text"]))
            elif token["move"] == "\r":
                self._column = 0
            elif token["move"] == "\n":
                self._row, self._column = self._row + 1, 0
            elif token["move"]:
                self._column = max(0, self._column - 1)
            elif token["code"]:
                self._control(token["code"], token["args"])
        while len(self.rows) > ROWS:  # it is not one that rewrites lines
            del self.rows[0]
            self._row = max(0, self._row - 1)

    def lines(self) -> list[str]:
        """The lines, with colours; empty ones at the end are left out."""
        found = []
        for row in self.rows:
            style, parts = "", []
            for colours, character in row:
                if colours != style:
                    parts.append((_RESET if style else "") + colours)
                    style = colours
                parts.append(character)
            found.append("".join(parts).rstrip() + (_RESET if style else ""))
        while found and not found[-1]:
            found.pop()
        return found

    def _put(self, text: str) -> None:
        while len(self.rows) <= self._row:
            self.rows.append([])
        row = self.rows[self._row]
        text = text[: max(0, COLUMNS - self._column)]
        if len(row) < self._column:
            row.extend([("", " ")] * (self._column - len(row)))
        row[self._column : self._column + len(text)] = [(self._style, c) for c in text]
        self._column += len(text)

    def _control(self, code: str, args: str) -> None:
        if code == "m":
            reset = args in ("", "0") or args.startswith("0;")
            rest = "" if args in ("", "0") else f"\x1b[{args.removeprefix('0;')}m"
            self._style = rest if reset else (self._style + rest)[-100:]
            return
        if args.startswith("?"):
            return  # shows or hides the cursor
        first = args.split(";")[0]
        number = int(first[:4]) if first else 0
        count = max(1, number)
        if code in "AF":
            self._row = max(0, self._row - count)
        elif code in "BE":
            self._row = min(self._row + count, len(self.rows))
        elif code == "C":
            self._column = min(self._column + count, COLUMNS)
        elif code == "D":
            self._column = max(0, self._column - count)
        elif code == "G":
            self._column = min(count - 1, COLUMNS)
        elif code in "Hf":
            self._row = self._column = 0
        elif code in "JK" and self._row < len(self.rows):
            row = self.rows[self._row]
            if number == 0:
                del row[self._column :]
            elif number == 1:
                row[: self._column] = [("", " ")] * min(self._column, len(row))
            else:
                row.clear()
            if code == "J":
                del self.rows[self._row + 1 :]
        if code in "EF":
            self._column = 0
