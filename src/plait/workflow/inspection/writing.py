"""An inspection as files: embeddings, tables, figures and one page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from plait.base.errors import MissingDependencyError, PlaitWarning
from plait.report.files import csv_text, write_bytes, write_text
from plait.workflow.inspection.embeddings import ABOUT, ALL, PLACES, Embedding
from plait.workflow.inspection.result import Inspection, as_table
from plait.workflow.inspection.rows import Rows


def write_inspection(inspection: Inspection, folder: str | Path) -> Path:
    """Write ``embeddings/``, ``tables/*.csv``, and with the extra ``report`` ``figures/*.svg`` and ``report.html``.

    Returns:
        The page, or the folder where there is none.
    """
    folder = Path(folder)
    for run in inspection.runs:
        write_embeddings(folder / "embeddings" / _file_name(run), inspection.embeddings[run], inspection.rows)
    for name, frame in tables_of(inspection).items():
        write_text(folder / "tables" / f"{name}.csv", csv_text(as_table(name, frame)))
    try:
        from plait.workflow.inspection.page import write_page

        return write_page(inspection, folder)
    except MissingDependencyError as error:
        warnings.warn(f"no page and no figures: {error}", PlaitWarning, stacklevel=3)
        return folder


def tables_of(inspection: Inspection) -> dict[str, pd.DataFrame]:
    """Every table by the name of its file; points of pictures too."""
    options = {
        "measures": inspection.measures,
        "alignment": inspection.alignment,
        "cka": inspection.cka,
        "comparison": inspection.comparison,
    }
    names = np.asarray(inspection.rows.names(), dtype=object)
    points = [
        pd.DataFrame(
            {
                "run": run,
                "way": way,
                "representation": name,
                "row": inspection.rows.number[places],
                "x": p[:, 0],
                "y": p[:, 1],
            }
        ).assign(**{"class": names[places]})
        for run, ways in inspection.pictures.items()
        for way, each in ways.items()
        for name, (places, p) in each.items()
    ]
    return options | ({"points": pd.concat(points, ignore_index=True)} if points else {})


def write_embeddings(folder: Path, result: Sequence[Embedding], rows: Rows) -> list[Path]:
    """One file per modality: ``row`` (in the table given, from 0), ``part``, ``class``, ``present``, and vectors of each place.

    Parquet where pyarrow is installed, else ``.npz`` (no pickle: ``np.load`` reads it as it is).
    """
    written = []
    part = np.where(rows.is_train, "train", "test")
    for modality in dict.fromkeys(each.modality for each in result):
        mine = [each for each in result if each.modality == modality]
        columns = {"row": rows.number, "part": part, "class": np.asarray(rows.names()), "present": mine[0].present}
        vectors = {each.place: np.ascontiguousarray(each.x, dtype=np.float32) for each in mine}
        written.append(_write_one(folder / _file_name("all" if modality == ALL else modality), columns, vectors))
    return written


def _write_one(path: Path, columns: dict[str, np.ndarray], vectors: dict[str, np.ndarray]) -> Path:
    held = io.BytesIO()
    if find_spec("pyarrow") is None:
        np.savez_compressed(held, **cast(dict[str, Any], {**columns, **vectors}))
        return write_bytes(path.with_name(path.name + ".npz"), held.getvalue())
    import pyarrow as pa
    from pyarrow import parquet

    lists = {place: pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1]) for place, x in vectors.items()}
    about = {f"plait.{place}": ABOUT[place] for place in PLACES if place in vectors}
    parquet.write_table(pa.table({**columns, **lists}).replace_schema_metadata(about), held)
    return write_bytes(path.with_name(path.name + ".parquet"), held.getvalue())


def _file_name(text: str) -> str:
    """A name that any file system takes.

    Example:
        >>> _file_name("my images/2")
        'my_images_2'
    """
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "unnamed"
