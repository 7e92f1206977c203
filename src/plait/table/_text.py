"""Rows of text tables: CSV and TSV as strings, JSONL with its own types; one clear line for what is broken."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from plait.errors import PlaitError, PlaitWarning, TableError

#: Names of the columns and a block of rows.
Blocks = Iterator[tuple[list[str], list[list[Any]]]]


def open_bytes(path: Path) -> BinaryIO:
    """A file's bytes, unpacked where the name ends in ``.gz``."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _open(path: Path, encoding: str) -> TextIO:
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, newline="")


def unique_names(names: list[str], where: object) -> list[str]:
    """The names of the columns; a name given twice is refused, an empty one is filled in as pandas does."""
    filled = [name if name.strip() else f"Unnamed: {i}" for i, name in enumerate(names)]
    twice = sorted({name for name in filled if filled.count(name) > 1})
    if twice:
        raise TableError(f"{where}: columns given more than once: {', '.join(map(repr, twice))}; rename or remove them")
    return filled


def csv_blocks(path: Path, encoding: str, rows: int, mark: str) -> Blocks:
    """Blocks of rows of strings, None where a cell is empty.

    A TSV whose quotes do not pair up, as in tables that never quote, is read with quotes as plain characters, and told.
    """
    plain = mark == "\t" and not _quotes_pair(path, encoding)
    with _open(path, encoding) as file:
        lines = _csv_lines(file, path, mark, plain=plain)
        _, header = next(lines, (0, [""]))
        names = _header(header, path, mark)
        while block := list(itertools.islice(lines, rows)):
            for line, row in block:
                if len(row) != len(names):
                    raise TableError(
                        f"{path}, line {line}: {len(row)} cells, expected {len(names)} as in the first line; "
                        f"a cell that holds {'a tab' if mark == chr(9) else 'a comma'} or a line break must be quoted"
                    )
            yield names, [[c if c and not c.isspace() else None for c in row] for _, row in block]


def _header(names: list[str], path: Path, mark: str) -> list[str]:
    names = [names[0].removeprefix("\ufeff"), *names[1:]]
    other = next((o for o in (";", "\t", ",", "|") if o != mark and o in names[0]), None)
    if len(names) == 1 and other:
        raise TableError(
            f"{path}: the one column is named {names[0][:60]!r}: it seems separated by {other!r}, where {mark!r} is "
            f"expected; read it with pandas.read_csv(..., sep={other!r}, dtype=str) and pass the DataFrame"
        )
    return unique_names(names, path)


def _csv_lines(file: TextIO, path: Path, mark: str, *, plain: bool) -> Iterator[tuple[int, list[str]]]:
    """Number of the line and its cells; blank lines are passed over."""
    reader = csv.reader(file, delimiter=mark, strict=True, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL)
    started = 0
    try:
        while True:
            started = reader.line_num + 1
            with _long_cells():
                row = next(reader)
            if row:
                yield reader.line_num, row
    except StopIteration:
        return
    except csv.Error as error:
        hint = "a quote that opens a cell must close it, one within it must be doubled"
        raise TableError(f"{path}, line {started}: {error}; {hint}") from None


@contextmanager
def _long_cells() -> Iterator[None]:
    """Lift the limit of 131,072 characters a cell, which the csv module keeps for the whole process."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quotes_pair(path: Path, encoding: str) -> bool:
    """Whether every row has the same number of cells when quotes are taken as quotes."""
    with _open(path, encoding) as file:
        try:
            widths = {len(row) for _, row in _csv_lines(file, path, "\t", plain=False)}
        except TableError:
            widths = set()
    if len(widths) == 1:
        return True
    with _open(path, encoding) as file:
        if len({len(row) for _, row in _csv_lines(file, path, "\t", plain=True)}) != 1:
            return True  # broken either way: say what is wrong with it as a quoted table
    warnings.warn(
        f"{path}: its quotes do not pair up, so they are read as plain characters", PlaitWarning, stacklevel=2
    )
    return False


def json_blocks(path: Path, encoding: str, rows: int) -> Blocks:
    """Blocks of rows of JSON values; a key that a line lacks is null."""
    names: dict[str, None] = {}
    for record in _json_records(path, encoding):  # a later line may bring a new key: every block needs it
        names.update(dict.fromkeys(record))
    columns = unique_names(list(names), path)
    records = _json_records(path, encoding)
    while block := list(itertools.islice(records, rows)):
        yield columns, [[record.get(name) for name in names] for record in block]


def _json_records(path: Path, encoding: str) -> Iterator[dict[str, Any]]:
    with _open(path, encoding) as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield _json_record(text, f"{path}, line {line}")


def _json_record(text: str, where: str) -> dict[str, Any]:
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
