"""``plait encode`` in one call: a table's cells through their encoders, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from plait.data.row_numbers import numbered, whole_table
from plait.encoders.featurize import Featurizer
from plait.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from plait.base.inputs import Inputs

#: Rows that are in memory at a time.
PIECE = 16_384


def pieces_of(frame: pd.DataFrame, rows: int = PIECE) -> Iterable[pd.DataFrame]:
    """A table that is in memory, piece by piece."""
    frame = numbered(frame)
    return (frame.iloc[start : start + rows] for start in range(0, max(1, len(frame)), rows))


def encode_pieces(
    features: Featurizer,
    pieces: Iterable[pd.DataFrame],
    root: str | None,
    store: Store | None,
    *,
    strict: bool = False,
    write: Callable[[Inputs], None] | None = None,
) -> list[dict[str, Any]]:
    """Encode a table's pieces; each is let go once it is written. One record per modality comes back.

    Without a store a cell that comes again in another piece is encoded again.

    Returns:
        Per modality ``modality``, ``encoder``, ``rows``, ``absent`` (rows without a cell), ``tokens`` (of the longest cell) and
        ``width``.
    """
    seen = {name: {"rows": 0, "absent": 0, "tokens": 0, "width": 0} for name in features.encoders}
    with whole_table() as files:
        for piece in pieces:
            part = features.transform(files.of(piece), root, store, strict=strict, progress=None, whole=False)
            if write is not None:
                write(part)
            for name, count in seen.items():
                tokens = part.tokens[name]
                count["rows"] += len(piece)
                count["absent"] += int((~part.present[name]).sum())
                count["tokens"] = max(count["tokens"], tokens.x.shape[1])
                count["width"] = tokens.dim
            del part, tokens  # before the next one is made
    return [{"modality": name, "encoder": features.encoders[name].name(), **count} for name, count in seen.items()]
