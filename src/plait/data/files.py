"""Tables in files: CSV, TSV, JSONL (each also ``.gz``), Parquet (also folders of it) and Arrow, whole or in pieces."""

from __future__ import annotations

import codecs
import contextlib
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from plait.base.documents import TABLE_ROWS
from plait.base.errors import PlaitError, TableError, nearest, need, reason
from plait.data.remote import local_table
from plait.data.text import Blocks, csv_blocks, json_blocks, open_bytes, unique_names
from plait.data.values import object_array

#: Ending -> what separates cells, None for JSON.
TEXT = {".csv": ",", ".tsv": "\t", ".jsonl": None, ".ndjson": None}
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc", ".arrows")
ENDINGS = (*TEXT, *(f"{e}.gz" for e in TEXT), *PARQUET, *ARROW)

_INDEX = re.compile(r"__index_level_\d+__")


def ending_of(path: Path) -> str:
    """The ending that says what a file is, without ``.gz``; an unknown one is an error."""
    result = next((e for e in ENDINGS if path.name.lower().endswith(e)), None)
    if result is None:
        raise TableError(f"{path}: unknown kind of table '{path.suffix}'; expected one of {', '.join(ENDINGS)}")
    return result.removesuffix(".gz")


def pieces(
    path: str | Path, rows: int, encoding: str | None = None, *, most: int | None = None, empty: bool = False
) -> Iterator[pd.DataFrame]:
    """The table in frames of at most ``rows`` rows, one after another; cells of text tables are ``object``.

    ``empty``: a table that has columns but no rows is one frame without rows, not an error.

    Raises:
        TableError: the file is not what its ending says (the message names the line), or has more than ``most`` rows.
    """
    path = _existing(local_table(path))
    ending = PARQUET[0] if path.is_dir() else ending_of(path)
    result = 0
    if ending in TEXT:
        frames = _text(path, TEXT[ending], rows, encoding)
    elif ending in ARROW:
        frames = _arrow(path, rows)
    else:
        frames = _parquet_folder(path, rows) if path.is_dir() else _parquet(path, rows, most)
    for frame in frames:
        result += len(frame)
        _check_rows(path, result, most)
        if len(frame) or empty:
            yield frame
    if not result and not empty:
        raise TableError(f"{path}: the table has no rows")


def _check_rows(path: Path, rows: int, most: int | None) -> None:
    if most is not None and rows > most:
        raise TableError(f"{path}: {rows:,} rows or more; {TABLE_ROWS.said} (plait predict reads piece by piece)")


def _existing(path: Path) -> Path:
    if path.is_dir():
        if next(path.rglob("*.parquet"), None) is None:
            raise TableError(f"{path}: is a folder without Parquet files; name the table in it")
        return path
    if not path.exists():
        if not path.parent.is_dir():
            raise TableError(f"{path}: no such file; there is no folder {path.parent}")
        beside = [p.name for p in path.parent.iterdir()]
        hint = nearest(path.name, beside)
        raise TableError(f"{path}: no such file; {hint if len(hint) < 200 else f'{path.parent} holds other files'}")
    if path.stat().st_size == 0:
        raise TableError(f"{path}: the file is empty")
    return path


def _text(path: Path, mark: str | None, rows: int, encoding: str | None) -> Iterator[pd.DataFrame]:
    value = encoding or "utf-8-sig"
    _check_encoding(path, value)
    _check_text(path)
    blocks = json_blocks(path, value, rows) if mark is None else csv_blocks(path, value, rows, mark)
    for names, block in _decoded(blocks, path, value):
        columns = zip(*block, strict=True) if block else ([] for _ in names)
        series = (pd.Series(object_array(cells), dtype=object) for cells in columns)  # cells stay as they are
        yield pd.DataFrame(dict(zip(names, series, strict=True)))


#: How files begin that are no text table, whatever their names end in -> what they are.
_BEGINNINGS = {
    b"\x1f\x8b": "a gzip file; let its name end in .gz",
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of an old kind; save the sheet as CSV",
    b"PAR1": "a Parquet file; let its name end in .parquet",
    b"ARROW1": "an Arrow file; let its name end in .arrow",
    b"%PDF": "a PDF document",
    b"<!doctype html": "a web page, perhaps of an error or a login; download the table itself",
    b"<html": "a web page, perhaps of an error or a login; download the table itself",
    b"version https://git-lfs": "a pointer of Git LFS, not the table; run: git lfs pull",
}


def _check_text(path: Path) -> None:
    """Refuse what is no text table at all: of such a file neither its encoding nor its commas are worth a word."""
    if path.suffix.lower() == ".gz":
        return
    with path.open("rb") as file:
        head = file.read(64).removeprefix(codecs.BOM_UTF8).lower()
    kind = next((what for start, what in _BEGINNINGS.items() if head.startswith(start.lower())), None)
    if kind is not None:
        raise TableError(f"{path}: not a text table: {kind}")


def _check_encoding(path: Path, encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except (LookupError, ValueError):  # ValueError: a name that holds NUL, or half a character
        raise TableError(f"{path}: unknown encoding '{encoding}'; expected one such as utf-8, cp1252, utf-16") from None


def _decoded(blocks: Blocks, path: Path, encoding: str) -> Blocks:
    """The blocks, with errors of decoding and unpacking said in one line."""
    try:
        yield from blocks
    except UnicodeError:
        line, start = _first_undecodable(path, encoding)
        hint = "latin-1" if encoding.lower() == "cp1252" else "cp1252"
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            hint = "utf-16"
        elif b"\0" in start:
            hint = "utf-16-le" if start[1:] == b"\0" else "utf-16-be"
        raise TableError(
            f"{path}, line {line}: not readable as {encoding.removesuffix('-sig')}; "
            f"pass the encoding that it was saved in, for instance encoding='{hint}'"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"{path}: cannot be read ({error})") from None


def _first_undecodable(path: Path, encoding: str) -> tuple[int, bytes]:
    """Number of the first line that does not decode, and the file's first two bytes."""
    count, start = 0, b""
    with open_bytes(path) as file:
        for raw in file:
            count, start = count + 1, start or raw[:2]
            try:
                raw.decode(encoding)
            except UnicodeError:
                break
    return count, start


@contextlib.contextmanager
def _readable(path: Path, what: str) -> Iterator[Any]:
    """pyarrow, whose errors within the block become one line."""
    arrow = need("pyarrow", "parquet")
    try:
        yield arrow
    except PlaitError:
        raise
    except (
        arrow.ArrowException,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        NotImplementedError,
        RecursionError,
    ) as error:
        raise TableError(f"{path}: not {what} ({reason(error)})") from None


def frame_of_arrow(table: Any, **options: bool) -> pd.DataFrame:
    """An Arrow table as a DataFrame; types that Arrow gives no pandas (lists of string views) cell by cell."""
    not_there = need("pyarrow", "parquet").ArrowNotImplementedError
    try:
        result: pd.DataFrame = table.to_pandas(**options)
    except not_there:
        result = pd.DataFrame(index=pd.RangeIndex(table.num_rows))
        for name, column in zip(table.column_names, table.columns, strict=True):
            try:
                result[name] = column.to_pandas(**options)
            except not_there:
                result[name] = pd.Series(object_array(column.to_pylist()), dtype=object)
    return result


def _frame_of(table: Any) -> pd.DataFrame:
    """Rows as pandas has them: a kept index is a column like any other; whole numbers of 64 bits stay exact beside nulls."""
    return frame_of_arrow(table.replace_schema_metadata(None), integer_object_nulls=True)


def _parquet(path: Path, rows: int, most: int | None) -> Iterator[pd.DataFrame]:
    with _readable(path, "a readable Parquet file") as arrow:
        file = need("pyarrow.parquet", "parquet").ParquetFile(path, pre_buffer=False)  # which keeps all that was read
        with file:
            _check_rows(path, file.metadata.num_rows, most)  # before anything is unpacked
            names = [n for n in file.schema_arrow.names if not _INDEX.fullmatch(n)]
            unique_names(names, path)
            for batch in file.iter_batches(batch_size=rows, columns=names):
                yield _frame_of(arrow.Table.from_batches([batch]))
            if not file.metadata.num_rows:
                yield _frame_of(file.schema_arrow.empty_table().select(names))


def _parquet_folder(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    """All Parquet files of a folder, in the order of their names; folders such as ``year=2024`` are columns."""
    with _readable(path, "a readable folder of Parquet files") as arrow:
        data = need("pyarrow.dataset", "parquet")
        files = sorted(str(file) for file in path.rglob("*.parquet"))
        kept = data.ParquetFileFormat(default_fragment_scan_options=data.ParquetFragmentScanOptions(pre_buffer=False))
        dataset = data.dataset(files, format=kept, partitioning="hive", partition_base_dir=str(path))
        yield from _in_pieces(
            arrow,
            dataset.to_batches(batch_size=rows, batch_readahead=1, fragment_readahead=1, use_threads=False),
            dataset.schema,
            path,
            rows,
        )


def _arrow(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    """An Arrow file (Feather 2), or a stream of Arrow."""
    with _readable(path, "a readable Arrow file") as arrow:
        ipc = need("pyarrow.ipc", "parquet")
        with arrow.memory_map(str(path)) as source:
            try:
                file = ipc.open_file(source)
                batches = (file.get_batch(i) for i in range(file.num_record_batches))
            except arrow.ArrowInvalid:
                source.seek(0)
                batches = file = ipc.open_stream(source)
            yield from _in_pieces(arrow, batches, file.schema, path, rows)


def _in_pieces(arrow: Any, batches: Iterable[Any], schema: Any, path: Path, rows: int) -> Iterator[pd.DataFrame]:
    names = [n for n in schema.names if not _INDEX.fullmatch(n)]
    unique_names(names, path)
    empty = True
    for batch in batches:
        for first in range(0, batch.num_rows, rows):
            empty = False
            part = arrow.Table.from_batches([batch.slice(first, rows)]).select(names)
            part.validate(full=True)  # a damaged file may hold text that is none
            yield _frame_of(part)
    if empty:
        yield _frame_of(schema.empty_table().select(names))
