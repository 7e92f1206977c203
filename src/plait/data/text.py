"""Rows of text tables: CSV and TSV as strings, JSONL with its own types; one clear line for what is broken."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from plait.base.documents import LINE_BYTES, Bounded
from plait.base.errors import PlaitError, TableError, warn

#: Names of the columns and a block of rows.
Blocks = Iterator[tuple[list[str], list[list[Any]]]]
#: Characters at the beginning of a file that show how it is written.
_HEAD = 1 << 16
#: A first line in whose every mark is followed by a blank: the blank is no part of the names.
_SPACED = {mark: re.compile(f"[^{mark}]+({mark} +[^ {mark}][^{mark}]*)+") for mark in (",", "\t")}


def open_bytes(path: Path) -> BinaryIO:
    """A file's bytes, unpacked where the name ends in ``.gz``; reading more than the limits allow is an error."""
    packed = path.suffix.lower() == ".gz"
    stream = cast(BinaryIO, gzip.GzipFile(path, "rb")) if packed else path.open("rb")
    return cast(BinaryIO, io.BufferedReader(Bounded(stream, path, packed=packed), 1 << 16))


def _open(path: Path, encoding: str) -> TextIO:
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, newline="")


def unique_names(names: list[str], where: object) -> list[str]:
    """The names of the columns; a name given twice is refused, an empty one is filled in as pandas does."""
    filled = [name if name.strip() else f"Unnamed: {i}" for i, name in enumerate(names)]
    broken = [name for name in filled if any("\ud800" <= sign <= "\udfff" for sign in name)]
    if broken:
        raise TableError(
            f"{where}: the name {broken[0]!r} of a column holds half a surrogate pair (a cut emoji); rename it"
        )
    check_once(filled, f"{where}: ")
    return filled


def check_once(names: Sequence[str], where: str = "") -> None:
    """Refuse names of columns that are given more than once."""
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise TableError(f"{where}columns given more than once: {', '.join(map(repr, twice))}; rename or remove them")


def csv_blocks(path: Path, encoding: str, rows: int, mark: str) -> Blocks:
    """Blocks of rows of strings, None where a cell is empty.

    A TSV whose quotes do not pair up, as in tables that never quote, is read with quotes as plain characters, with a warning.
    """
    plain = mark == "\t" and not _quotes_pair(path, encoding)
    first = _first_line(path, encoding)
    _check_mark(first, path, encoding, mark)
    with _open(path, encoding) as file:
        lines = _csv_lines(file, path, mark, plain=plain, spaced=_SPACED[mark].fullmatch(first) is not None)
        _, header = next(lines, (0, [""]))
        names = _header(header, path)
        lines = _blank_cells(lines, path) if len(names) == 1 else ((line, row) for line, row in lines if row)
        empty = True
        while block := list(itertools.islice(lines, rows)):
            if empty:
                _check_names(names, block[0][1], path)
            empty = False
            for line, row in block:
                if len(row) != len(names):
                    raise TableError(
                        f"{path}, line {line}: {len(row)} cells, expected {len(names)} as in the first line; "
                        f"a cell that holds {'a tab' if mark == chr(9) else 'a comma'} or a line break must be quoted"
                    )
            yield names, [[c if c and not c.isspace() else None for c in row] for _, row in block]
        if empty:
            yield names, []


def _first_line(path: Path, encoding: str) -> str:
    """The first line that is not blank, without its end."""
    with _open(path, encoding) as file:
        text = file.read(_HEAD).removeprefix("\ufeff").lstrip("\r\n")
    return re.split(r"[\r\n]", text, maxsplit=1)[0]


def _check_mark(first: str, path: Path, encoding: str, mark: str) -> None:
    """Refuse a table whose cells are separated by something else than its ending says."""
    value = re.fullmatch(r'"?sep=(.)"?\W*', first, re.IGNORECASE)
    if value and value[1] == mark:
        raise TableError(f"{path}, line 1: {first!r} is for Excel alone and no part of a table; remove the line")
    if value:
        raise TableError(
            f"{path}, line 1: {first!r} is for Excel alone and no part of a table, and says that cells are separated by "
            f"{value[1]!r}, where {mark!r} is expected; read it with "
            f"pandas.read_csv(..., skiprows=1, sep={value[1]!r}, dtype=str) and pass the DataFrame"
        )
    if '"' in first:  # a name in quotes may hold any mark
        return
    counts = {other: first.count(other) for other in (";", "\t", ",", "|") if other != mark and other in first}
    other = max(counts, key=lambda mark: counts[mark], default=None)
    if other and counts[other] >= first.count(mark) and _separates(other, counts[other] + 1, path, encoding):
        many = first.count(mark) > 0
        raise TableError(
            f"{path}: {'the first line is' if many else 'the one column is named'} {first[:60]!r}: it seems separated by "
            f"{other!r}, where {mark!r} is expected; read it with pandas.read_csv(..., sep={other!r}, dtype=str) and pass the "
            "DataFrame" + ("; quote the names if they do hold that sign" if many else "")
        )


def _separates(mark: str, cells: int, path: Path, encoding: str) -> bool:
    """Whether the first rows, too, have so many cells when they are separated by ``mark``; also when there are none."""
    with _open(path, encoding) as file:
        reader = csv.reader(io.StringIO(file.read(_HEAD), newline=""), delimiter=mark)
        rows = [row for row in itertools.islice(reader, 50) if row]
    kept = rows[:-1] if len(rows) > 2 else rows  # the last may be cut off
    return all(len(row) == cells for row in kept)


def _blank_cells(lines: Iterator[tuple[int, list[str]]], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a table of one column: a blank line is a cell without content, but at the end of the file it is nothing."""
    blank: list[int] = []
    for line, row in lines:
        if not row:
            blank.append(line)
            continue
        yield from ((number, [""]) for number in blank)
        blank = []
        yield line, row
    if blank:
        warn(f"{path}: {len(blank)} blank lines at its end are no rows; write an empty cell there as two quotes")


def _header(names: list[str], path: Path) -> list[str]:
    return unique_names([names[0].removeprefix("\ufeff"), *names[1:]], path)


def _check_names(names: list[str], first: list[str], path: Path) -> None:
    """Refuse a title above the names; warn where the first line looks like a row."""
    nameless = [name == f"Unnamed: {i}" for i, name in enumerate(names)]
    rows = [cell for cell, gone in zip(first, nameless, strict=False) if gone and cell.strip()]
    if len(rows) > 1 and 2 * sum(nameless) > len(names):
        raise TableError(
            f"{path}, line 1: names {len(names) - sum(nameless)} of {len(names)} columns; the first line must name them all, "
            "so remove a title above it"
        )
    if len(names) > 1 and all(map(_FIGURES.fullmatch, names)) and names != [str(i) for i in range(len(names))]:
        warn(
            f"{path}, line 1: the columns are named {', '.join(names[:4])}{', ...' * (len(names) > 4)}; if that is a row, put a "
            "line of names above it"
        )


_FIGURES = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def _csv_lines(
    file: TextIO, path: Path, mark: str, *, plain: bool, spaced: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Number of the line and its cells, none of a blank line; those before the header are passed over.

    ``spaced``: a blank after each mark belongs to the mark.
    """
    reader = csv.reader(
        file,
        delimiter=mark,
        strict=True,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        skipinitialspace=spaced,
    )
    started = 0
    header = False
    try:
        while True:
            started = reader.line_num + 1
            with _long_cells():
                row = next(reader)
            header = header or bool(row)
            if header:
                yield reader.line_num, row
    except StopIteration:
        return
    except csv.Error as error:
        hint = "a quote that opens a cell must close it, one within it must be doubled"
        raise TableError(f"{path}, line {started}: {error}; {hint}") from None


@contextmanager
def _long_cells() -> Iterator[None]:
    """Lift the limit of 131,072 characters a cell, which the csv module keeps for the whole process."""
    before = csv.field_size_limit(LINE_BYTES.value)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quotes_pair(path: Path, encoding: str) -> bool:
    """Whether every row has the same number of cells when quotes are taken as quotes."""
    with _open(path, encoding) as file:
        try:
            widths = {len(row) for _, row in _csv_lines(file, path, "\t", plain=False) if row}
        except TableError:
            widths = set()
    if len(widths) == 1:
        return True
    with _open(path, encoding) as file:
        if len({len(row) for _, row in _csv_lines(file, path, "\t", plain=True) if row}) != 1:
            return True  # broken either way: say what is wrong with it as a quoted table
    warn(f"{path}: its quotes do not pair up, so they are read as plain characters")
    return False


def json_blocks(path: Path, encoding: str, rows: int) -> Blocks:
    """Blocks of rows of JSON values; a key that a line lacks is null."""
    names: dict[str, None] = {}
    for record in _json_records(path, encoding):  # a later line may bring a new key: every block needs it
        names.update(dict.fromkeys(record))
    columns = unique_names(list(names), path)
    records = _json_records(path, encoding)
    if not names:
        return
    while block := list(itertools.islice(records, rows)):
        yield columns, [[record.get(name) for name in names] for record in block]


def _json_records(path: Path, encoding: str) -> Iterator[dict[str, object]]:
    with _open(path, encoding) as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield _json_record(text, f"{path}, line {line}")


def _json_record(text: str, where: str) -> dict[str, object]:
    try:
        record = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, where))
    except (json.JSONDecodeError, RecursionError) as error:
        problem = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise TableError(f"{where}: not valid JSON ({problem}); expected one object per line") from None
    except PlaitError:
        raise
    except ValueError as error:  # a whole number of more digits than Python reads
        problem = str(error).partition(";")[0]
        raise TableError(f"{where}: not valid JSON ({problem}); expected one object per line") from None
    if not isinstance(record, dict):
        raise TableError(
            f'{where}: expected one object per line, as {{"column": value}}, found {type(record).__name__}'
        )
    return record


def _once(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise TableError(f"{where}: a key is given twice")
    return record
