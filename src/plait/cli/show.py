"""How commands print: sentences, commands to run next, tables, JSON."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import typer

from plait.base.errors import hidden

#: What a terminal obeys, but for the end of a line.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
#: A column of texts is not made narrower than this, nor than its longest word.
_LEAST = 16


def show_json(value: Any) -> None:
    """One JSON document; a number that is none is null, for JSON has no word for it."""
    from plait.store.model_files import plain_values

    typer.echo(json.dumps(plain_values(value), indent=1, ensure_ascii=False, default=str))


def show_text(text: str) -> None:
    """A sentence: on a terminal wrapped between words, elsewhere one line; commands are not broken."""
    if text:
        typer.echo(wrapped(text, sys.stdout))


def show_title(text: str) -> None:
    """What the next table shows, after an empty line."""
    typer.echo()
    show_text(text)


def show_words(words: Sequence[tuple[str, str]]) -> None:
    """Words, each as it is and as it is coloured, in lines that fit the terminal."""
    room, lines, used = max(20, shutil.get_terminal_size().columns), [""], 0
    for plain, coloured in words:
        if used and used + 1 + len(plain) > room:
            lines, used = [*lines, ""], 0
        lines[-1] += f" {coloured}" if used else coloured
        used += len(plain) + bool(used)
    typer.echo("\n".join(lines))


def harmless(text: str) -> str:
    r"""A text of a table without what would move a terminal's cursor or colour it: such signs are written out.

    Example:
        >>> harmless("red" + chr(27) + "[2J")
        'red\\x1b[2J'
    """
    return _CONTROL.sub(lambda sign: repr(sign[0])[1:-1], text)


def wrapped(text: str, stream: TextIO) -> str:
    """What goes to a terminal broken between words; what holds a command, or goes elsewhere, in one line."""
    text = harmless(text)
    if not stream.isatty() or re.search(r"\bplait [a-z]", text):
        return text
    width = max(20, shutil.get_terminal_size().columns)
    return textwrap.fill(text, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def show_command(*parts: object, then: str = "") -> None:
    """A command to run next, quoted so that a shell takes every name as it is."""
    typer.echo(f"  {shlex.join(['plait', *(hidden(str(part)) for part in parts)])} {then}".rstrip())


def command_line() -> str:
    """The command that was given, as a page and a record keep it: without passwords."""
    return shlex.join(["plait", *map(hidden, sys.argv[1:])])


def show_table(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Aligned columns, numbers to the right; what is wider than the terminal is broken, or a record to a paragraph."""
    if not records:
        typer.echo("(nothing)")
        return
    columns = list(columns or records[0])
    whole = [_whole([record.get(c) for record in records]) for c in columns]
    cells = [[_cell(record.get(c), w) for c, w in zip(columns, whole, strict=True)] for record in records]
    right = [all(isinstance(r.get(c), int | float) or r.get(c) is None for r in records) for c in columns]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    titles = [_cell(column, False) for column in columns]
    widths = column_widths([titles, *cells], right, room)
    if widths is None and sum(right) > len(columns) / 2:  # figures stay side by side, some of them at a time
        names = list(itertools.takewhile(lambda c: not right[columns.index(c)], columns))
        for part in _parts(columns, [titles, *cells], len(names), room or 0):
            show_table(records, [*names, *part])
        return
    if widths is None:
        typer.echo("\n".join(_paragraphs(titles, cells, room or 0)))
        return
    for row in [titles, *cells]:
        broken = [
            textwrap.wrap(text, width, break_on_hyphens=False) if room else [text]
            for text, width in zip(row, widths, strict=True)
        ]
        for line in itertools.zip_longest(*broken, fillvalue=""):
            parts = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True)]
            typer.echo("  ".join(parts).rstrip())


def column_widths(rows: Sequence[Sequence[str]], fixed: Sequence[bool], room: int | None) -> list[int] | None:
    """Widths of columns, the widest texts cut where there is no room; None where that would leave them too narrow.

    Example:
        >>> rows = [["name", "about"], ["sum", "the sum of all that is present"]]
        >>> column_widths(rows, [False, False], None), column_widths(rows, [False, False], 24)
        ([4, 30], [4, 18])
    """
    widths = [max(1, *map(len, column)) for column in zip(*rows, strict=True)]
    room = None if room is None else room - 2 * (len(widths) - 1)
    if room is None or sum(widths) <= room:
        return widths
    words = [
        max((len(word) for text in column for word in text.split()), default=1) for column in zip(*rows, strict=True)
    ]
    least = [w if f else min(w, max(_LEAST, word)) for w, f, word in zip(widths, fixed, words, strict=True)]
    while sum(widths) > room and widths != least:
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths if sum(widths) <= room or len(widths) == 1 else None


def _parts(columns: Sequence[str], cells: Sequence[Sequence[str]], named: int, room: int) -> Iterator[list[str]]:
    """The columns after the named ones, as many at a time as fit beside these; one at least."""
    widths = [2 + max(map(len, column)) for column in zip(*cells, strict=True)]
    room, used = room + 2 - sum(widths[:named]), 0
    part: list[str] = []
    for column, width in zip(columns[named:], widths[named:], strict=True):
        if part and used + width > room:
            yield part
            part, used = [], 0
        part, used = [*part, column], used + width
    yield part


def _paragraphs(columns: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> Iterator[str]:
    """One record after the other: its first cell, then a line for each of the others that says something."""
    name = max(map(len, columns[1:]))
    for first, *others in cells:
        yield first
        for column, text in zip(columns[1:], others, strict=True):
            if text not in ("", "-"):
                head = f"  {column.ljust(name)}  "
                yield textwrap.fill(
                    text, max(40, room), initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
                )


def _whole(values: Sequence[Any]) -> bool:
    """Whether numbers that came as floats (because one is missing) are counts."""
    numbers = [v for v in values if isinstance(v, float) and v == v]
    return bool(numbers) and all(v.is_integer() for v in numbers) and max(map(abs, numbers)) >= 1000


def _cell(value: Any, whole: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        large = whole or abs(value) >= 10_000 or (abs(value) >= 1000 and value.is_integer())
        return "-" if value != value else f"{value:,.0f}" if large else f"{value:.3f}"
    return harmless(str(value).replace("\n", "\\n"))
