"""Tables written whole or piece by piece: beside their place first, then renamed, so never half."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pandas as pd

from plait.base.errors import TableError, need
from plait.base.folders import check_file
from plait.base.parts import part_file
from plait.data.files import PARQUET, TEXT, ending_of
from plait.data.typed import plain

if TYPE_CHECKING:
    from plait.base.inputs import Inputs
    from plait.base.tokens import Tokens

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
    make = _parquet_writer if ending in PARQUET else _text_writer
    with _new_file(path, "".join(path.suffixes[-2:])) as part, make(part, ending) as write:
        yield write


@contextmanager
def _new_file(path: Path, ending: str) -> Iterator[Path]:
    """Where to write what takes its name when all of it is there."""
    check_file(path)
    try:
        with part_file(path, ending) as part:
            yield part
    except OSError as error:
        raise TableError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as its ending says: ``.csv``, ``.tsv``, ``.jsonl`` (each also ``.gz``) or ``.parquet``."""
    with table_writer(path) as write:
        write(frame)


def write_chunks(frames: Iterable[pd.DataFrame], path: str | Path) -> int:
    """Write a table piece by piece, whole or not at all; the number of rows comes back."""
    count = 0
    with table_writer(path) as write:
        for frame in frames:
            write(frame)
            count += len(frame)
    return count


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
def _parquet_file(path: Path) -> Iterator[Callable[[Any], None]]:
    """A function that appends Arrow tables of one schema to a new file."""
    parquet = need("pyarrow.parquet", "parquet")
    with ExitStack() as stack:
        opened: list[Any] = []

        def write(table: Any) -> None:
            if not opened:
                opened.append(stack.enter_context(parquet.ParquetWriter(path, table.schema)))
            opened[0].write_table(table)

        yield write


@contextmanager
def _parquet_writer(path: Path, ending: str) -> Iterator[Write]:
    arrow, schema = need("pyarrow", "parquet"), None
    with _parquet_file(path) as append:

        def write(frame: pd.DataFrame) -> None:
            nonlocal schema
            frame = _each_text(frame, lambda v: printable(v) if isinstance(v, str) else v)
            try:
                table = arrow.Table.from_pandas(frame, schema=schema, preserve_index=False)
            except arrow.ArrowException as error:
                raise TableError(f"{path}: a column cannot be written as Parquet ({error})") from None
            schema = table.schema
            append(table)

        yield write


def _each_text(frame: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """The columns of objects changed cell by cell; they stay objects: no other type takes half a surrogate pair."""
    changed = {
        name: pd.Series([change(v) for v in column], dtype=object, index=frame.index)
        for name, column in frame.items()
        if column.dtype == object
    }
    return frame.assign(**{str(name): column for name, column in changed.items()})


def formulas(piece: pd.DataFrame, quote: bool) -> int:
    """Cells of text that a spreadsheet would run as a formula; with ``quote`` they get a ' before them."""
    import pandas as pd

    count = 0
    for name in piece.columns:
        if pd.api.types.is_numeric_dtype(piece[name]):
            continue
        hits = piece[name].map(lambda cell: isinstance(cell, str) and _formula(cell)).to_numpy(bool)
        count += int(hits.sum())
        if quote and hits.any():
            piece[name] = ["'" + cell if hit else cell for cell, hit in zip(piece[name], hits, strict=True)]
    return count


def _formula(cell: str) -> bool:
    """``=...``, ``@...``, a tab, or a sign before what is no number."""
    if cell[:1] in ("+", "-"):
        try:
            float(cell)
        except ValueError:
            return True
        return False
    return cell[:1] in ("=", "@", "\t", "\r")


@contextmanager
def vectors_writer(path: Path) -> Iterator[Callable[[Inputs], None]]:
    """A function that writes embeddings: appended to a Parquet file that any reader takes, or all at once to ``.npz``.

    Shape:
        column of Parquet: (n, D) float32, of a modality the mean of a row's tokens; null where it is absent.
        ``NAME.x`` and ``NAME.mask`` of ``.npz``: (n, T, D) and (n, T), all tokens.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        TableError: the file cannot be written.
    """
    make = _packed_vectors if path.suffix.lower() == ".npz" else _parquet_vectors
    with _new_file(path, path.suffix) as part, make(part) as write:
        yield write


@contextmanager
def _packed_vectors(path: Path) -> Iterator[Callable[[Inputs], None]]:
    def write(inputs: Inputs) -> None:
        arrays = {f"{name}.x": tokens.x.numpy() for name, tokens in inputs.tokens.items()}
        arrays |= {f"{name}.mask": tokens.mask.numpy() for name, tokens in inputs.tokens.items()}
        np.savez_compressed(path, allow_pickle=False, **arrays)

    yield write


@contextmanager
def _parquet_vectors(path: Path) -> Iterator[Callable[[Inputs], None]]:
    arrow = need("pyarrow", "parquet")
    with _parquet_file(path) as append:
        yield lambda inputs: append(arrow.table({n: _vectors(arrow, t) for n, t in inputs.tokens.items()}))


def _vectors(arrow: Any, tokens: Tokens) -> Any:
    x = np.ascontiguousarray(tokens.pooled().numpy(), np.float32)
    absent = arrow.array(~tokens.present.numpy())
    return arrow.FixedSizeListArray.from_arrays(arrow.array(x.reshape(-1)), x.shape[1], mask=absent)
