"""Writing what a report is made of: each file whole or not at all."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from plait.base.errors import PlaitError, need
from plait.base.folders import part_file
from plait.report import sentences
from plait.report.tables import Table


def write_text(path: Path, text: str) -> Path:
    """Write a text file beside its place and move it there; missing folders are made.

    Raises:
        PlaitError: the place cannot be written.
    """
    return write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: Path, content: bytes) -> Path:
    """The same for bytes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part_file(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise PlaitError(f"{path}: cannot be written ({error.strerror}); choose another folder or make room") from error
    return path


def csv_text(table: Table) -> str:
    """A table as CSV: numbers in full, NaN as nothing."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([[_cell(value) for value in row] for row in table.rows])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return value


TEMPLATES = Path(__file__).parent / "templates"
#: Rows of a table that are shown at once; longer ones are folded.
UNFOLDED = 25


def render(template: str, **setting: Any) -> str:
    """One page from a template of this package and what it names."""
    jinja2 = need("jinja2", "report")
    # Escaping is on for every template: names of columns and classes are a stranger's text.
    surroundings = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markup = need("markupsafe", "report").Markup
    surroundings.filters["number"] = sentences.number
    surroundings.filters["drawn"] = lambda drawing: markup(drawing.markup)
    surroundings.tests["a_number"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    surroundings.globals["unfolded"] = UNFOLDED
    return str(surroundings.get_template(template).render(**setting))
