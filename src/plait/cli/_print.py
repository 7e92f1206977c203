"""Tables and JSON on standard output."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import typer


def show_json(value: Any) -> None:
    """One JSON document; a number that is none is null, for JSON has no word for it."""
    typer.echo(json.dumps(_without_nan(value), indent=1, ensure_ascii=False, default=str))


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def show_text(text: str) -> None:
    """A sentence: on a terminal wrapped between words, elsewhere one line; commands are not broken."""
    if not text:
        return
    if not sys.stdout.isatty() or re.search(r"\bplait \w", text):
        typer.echo(text)
        return
    width = shutil.get_terminal_size().columns
    typer.echo(textwrap.fill(text, max(20, width), subsequent_indent="  ", break_on_hyphens=False))


def show_command(*parts: object, then: str = "") -> None:
    """A command to run next, quoted so that a shell takes every name as it is."""
    typer.echo(f"  {shlex.join(['plait', *map(str, parts)])} {then}".rstrip())


def show_table(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Aligned columns: numbers to the right, the last column as wide as it is."""
    if not records:
        typer.echo("(nothing)")
        return
    columns = list(columns or records[0])
    cells = [[_cell(record.get(c)) for c in columns] for record in records]
    right = [all(isinstance(r.get(c), int | float) or r.get(c) is None for r in records) for c in columns]
    widths = [max(len(c), *(len(row[i]) for row in cells)) for i, c in enumerate(columns)]
    for row in [columns, *cells]:
        parts = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(row, widths, right, strict=True)]
        typer.echo("  ".join(parts).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value)
