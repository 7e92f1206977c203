"""Cells that name files on the network: fetched where that is allowed, and put in the place of their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from plait.base.errors import CellError
from plait.base.progress import track
from plait.data.cells import items_in
from plait.data.remote import Allowed, address_of, fetch
from plait.data.typed import plain

_AT_ONCE = 8


def fetch_cells(
    frame: pd.DataFrame,
    remote: str | bool | Sequence[str] | None,
    root: str | None = None,
    columns: Sequence[str] = (),
    progress: bool | None = None,
) -> pd.DataFrame:
    """The table with every file that a cell names by an allowed address fetched, eight at a time, and put in its place.

    What cannot be fetched becomes a cell that says why: absent and counted, or an error with ``strict``.

    Args:
        frame: the table.
        remote: ``all``, or how the addresses that may be fetched begin; None: nothing is.
        root: an address that names without one start from.
        columns: hold files whatever the ending of an address says; of others only names of media and of vectors are files.
        progress: show how far it is; None: only on a terminal.
    """
    allowed, base = Allowed.of(remote), address_of(root) if root is not None else None
    if not allowed:
        return frame
    held = {}
    for name in frame.columns:
        if frame[name].dtype.kind == "O" or not isinstance(frame[name].dtype, np.dtype):
            cells = plain(frame[name])
            addresses = [_addresses(cell, base, allowed, any_name=name in columns) for cell in cells]
            if any(addresses):
                held[name] = (cells, addresses)
    wanted = list(dict.fromkeys(a for _, rows in held.values() for row in rows for a in row if a is not None))
    if not wanted:
        return frame
    with track(len(wanted), "fetch", "files", progress) as bar, ThreadPoolExecutor(_AT_ONCE) as pool:

        def one(address: str) -> Any:
            result = _blob(address, allowed)
            bar.advance()
            return result

        blobs = dict(zip(wanted, pool.map(one, wanted), strict=True))
    return frame.assign(**{name: _replaced(*value, blobs, frame.index) for name, value in held.items()})


def _addresses(cell: object, base: str | None, allowed: Allowed, *, any_name: bool) -> list[str | None]:
    """The address of each file that a cell names, None of one that is not fetched; empty where there is none at all."""
    items = [cell] if isinstance(cell, str) and not cell.lstrip().startswith("[") else items_in(cell) or []
    result = [_address(item, base, any_name=any_name) for item in items]
    kept = [a if a is not None and allowed(a) else None for a in result]
    return kept if any(kept) else []


def _address(item: object, base: str | None, *, any_name: bool) -> str | None:
    if not isinstance(item, str):
        return None
    address = address_of(item)
    if address is None and (base is None or ":" in item or item.startswith(("/", "\\", "~"))):
        return None
    address = address or f"{base}/{item.strip()}".replace("//", "/").replace(":/", "://", 1)
    return address if any_name or names_file(address) else None


def names_file(address: str) -> bool:
    """Whether an address ends like the name of a picture, a sound, a film, or a vector.

    Example:
        >>> names_file("https://example.org/a.png?size=2"), names_file("https://example.org/about")
        (True, False)
    """
    from plait.data.media.formats import kind_of_name  # late: decoders are heavy

    name = urlsplit(address).path
    return name.lower().endswith(".npy") or kind_of_name(name.rpartition("/")[2]) is not None


def _blob(address: str, allowed: Allowed) -> object:
    from plait.data.media import Blob

    try:
        return Blob(path=str(fetch(address, allowed)), address=address)
    except CellError as error:
        return Blob(problem=str(error), address=address)


def _replaced(cells: np.ndarray, addresses: list[list[str | None]], blobs: Mapping[str, Any], index: Any) -> pd.Series:
    result = np.empty(len(cells), dtype=object)
    for row, (cell, names) in enumerate(zip(cells, addresses, strict=True)):
        if not names:
            result[row] = cell
            continue
        items = [cell] if len(names) == 1 and isinstance(cell, str) and items_in(cell) is None else items_in(cell)
        parts = [item if name is None else blobs[name] for item, name in zip(items or [], names, strict=True)]
        result[row] = parts[0] if items is not None and items[0] is cell else parts
    return pd.Series(result, index=index, dtype=object)
