"""Text cells as encoders can take them."""

from __future__ import annotations

from typing import Any

from plait.errors import CellError


def cut(cell: Any, characters: int) -> str:
    """The first ``characters`` of a text, with half surrogate pairs, which no tokenizer takes, replaced.

    Raises:
        CellError: not a text.

    Example:
        >>> cut("abc", 2), cut("a" + chr(0xD800), 9)
        ('ab', 'a?')
    """
    if not isinstance(cell, str):
        raise CellError(f"a cell of type {type(cell).__name__}; expected text")
    return cell[:characters].encode("utf-8", "replace").decode("utf-8")
