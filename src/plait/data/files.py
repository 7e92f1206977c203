"""Tables in files: CSV, TSV, JSONL (each also ``.gz``) and Parquet, read and written whole or in pieces."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from plait.base.documents import TABLE_ROWS
from plait.base.errors import PlaitError, TableError, nearest, need
from plait.base.parts import part_file
from plait.data.text import Blocks, csv_blocks, json_blocks, open_bytes, unique_names
from plait.data.typed import plain

#: Ending -> what separates cells, None for JSON.
TEXT = {".csv": ",", ".tsv": "\t", ".jsonl": None, ".ndjson": None}
PARQUET = (".parquet", ".pq")
ENDINGS = (*TEXT, *(f"{e}.gz" for e in TEXT), *PARQUET)

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
    path = _existing(Path(path))
    ending = ending_of(path)
    result = 0
    frames = _parquet(path, rows, most) if ending in PARQUET else _text(path, TEXT[ending], rows, encoding)
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
        raise TableError(f"{path}: is a folder; name the table in it")
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
    blocks = json_blocks(path, value, rows) if mark is None else csv_blocks(path, value, rows, mark)
    for names, block in _decoded(blocks, path, value):
        columns = zip(*block, strict=True) if block else ([] for _ in names)
        yield pd.DataFrame({name: _objects(cells) for name, cells in zip(names, columns, strict=True)})


def _objects(cells: Sequence[Any]) -> pd.Series:
    """A column that keeps its cells as they are: pandas would turn an empty one into another type."""
    column = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):  # lists of one length would otherwise become a matrix
        column[i] = cell
    return pd.Series(column, dtype=object)


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
        hint = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "cp1252"
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


def _parquet(path: Path, rows: int, most: int | None) -> Iterator[pd.DataFrame]:
    arrow = need("pyarrow", "parquet")
    parquet = need("pyarrow.parquet", "parquet")
    try:
        file = parquet.ParquetFile(path)
        with file:
            _check_rows(path, file.metadata.num_rows, most)  # before anything is unpacked
            names = [n for n in file.schema_arrow.names if not _INDEX.fullmatch(n)]
            unique_names(names, path)
            for batch in file.iter_batches(batch_size=rows, columns=names):
                table = arrow.Table.from_batches([batch])
                # An index kept by pandas is a column like any other; whole numbers of 64 bits stay exact beside nulls.
                yield table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
            if not file.metadata.num_rows:
                yield file.schema_arrow.empty_table().select(names).to_pandas(ignore_metadata=True)
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
        raise TableError(f"{path}: not a readable Parquet file ({str(error).partition(chr(10))[0]})") from None


Write = Callable[[pd.DataFrame], None]
#: Half a surrogate pair, which UTF-8 cannot hold, is written as JSON does: a backslash, u, and four digits.
_ESCAPED = "backslashreplace"


def printable(text: str) -> str:
    r"""A text that every file can hold: half a surrogate pair is written out.

    Example:
        >>> printable("caf" + chr(0xD83D)), printable("café")
        ('caf\\ud83d', 'café')
    """
    return text.encode("utf-8", _ESCAPED).decode("utf-8")


@contextmanager
def table_writer(path: str | Path) -> Iterator[Write]:
    r"""A function that appends rows to a new table; the file takes its name when the block ends without an error.

    Example:
        >>> import tempfile, pathlib
        >>> place = pathlib.Path(tempfile.mkdtemp()) / "answers.csv"
        >>> with table_writer(place) as write:
        ...     write(pd.DataFrame({"race": ["Dragon"]}))
        >>> place.read_text()
        'race\nDragon\n'
    """
    path = Path(path)
    ending = ending_of(path)
    if not path.parent.is_dir():
        raise TableError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise TableError(f"{path}: is a folder; name the file to write")
    make = _parquet_writer if ending in PARQUET else _text_writer
    try:
        with part_file(path, "".join(path.suffixes[-2:])) as part, make(part, ending) as write:
            yield write
    except OSError as error:
        raise TableError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as its ending says: ``.csv``, ``.tsv``, ``.jsonl`` (each also ``.gz``) or ``.parquet``."""
    with table_writer(path) as write:
        write(frame)


@contextmanager
def _text_writer(path: Path, ending: str) -> Iterator[Write]:
    mark = TEXT[ending]
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    started = False
    with opened(path, "wt", encoding="utf-8", errors=_ESCAPED, newline="") as file:

        def write(frame: pd.DataFrame) -> None:
            nonlocal started
            frame = _shortest(frame)
            if mark is None:
                _write_json(frame, file)
            else:
                frame = _each_text(
                    frame, lambda v: "|".join(map(str, v)) if isinstance(v, list | tuple | np.ndarray) else v
                )
                frame.to_csv(file, sep=mark, index=False, header=not started, lineterminator="\n")
            started = True

        yield write


def _shortest(frame: pd.DataFrame) -> pd.DataFrame:
    """Narrow floats as the shortest decimals that they stand for: 2.3, not 2.299999952316284."""
    narrow = [i for i, dtype in enumerate(frame.dtypes) if dtype.kind == "f" and getattr(dtype, "itemsize", 8) < 8]
    if not narrow:
        return frame
    frame = frame.copy(deep=False)
    for i in narrow:
        frame.isetitem(i, plain(frame.iloc[:, i]))
    return frame


def _write_json(frame: pd.DataFrame, file: TextIO) -> None:
    for record in frame.to_dict(orient="records"):
        plain = {str(k): _json_value(v) for k, v in record.items()}
        file.write(json.dumps(plain, ensure_ascii=False) + "\n")


def _json_value(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_json_value(v) for v in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return None if pd.isna(value) else str(value)


@contextmanager
def _parquet_writer(path: Path, ending: str) -> Iterator[Write]:
    arrow = need("pyarrow", "parquet")
    parquet = need("pyarrow.parquet", "parquet")
    opened: list[Any] = []

    def write(frame: pd.DataFrame) -> None:
        shape = opened[0].schema if opened else None
        try:
            table = arrow.Table.from_pandas(
                _each_text(frame, lambda v: printable(v) if isinstance(v, str) else v),
                schema=shape,
                preserve_index=False,
            )
        except arrow.ArrowException as error:
            raise TableError(f"{path}: a column cannot be written as Parquet ({error})") from None
        if not opened:
            opened.append(parquet.ParquetWriter(path, table.schema))
        opened[0].write_table(table)

    try:
        yield write
    finally:
        if opened:
            opened[0].close()


def _each_text(frame: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """The columns of objects changed cell by cell; they stay objects: no other type takes half a surrogate pair."""
    changed = {
        name: pd.Series([change(v) for v in column], dtype=object, index=frame.index)
        for name, column in frame.items()
        if column.dtype == object
    }
    return frame.assign(**{str(name): column for name, column in changed.items()})
