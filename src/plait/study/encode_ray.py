"""Cells encoded by a Ray cluster, in batches of Ray Data; what comes back is kept in the store here."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from plait.base import registry
from plait.base.encoder import Encoder
from plait.base.errors import CellError
from plait.data.cells import cells
from plait.data.media.keys import cell_key
from plait.encoders.embed import embed
from plait.encoders.featurize import Featurizer
from plait.store import Store
from plait.study.cluster import cluster, surroundings

#: Cells of a batch, in batches of the encoder.
BATCHES = 4


def encode_ray(features: Featurizer, frame: pd.DataFrame, root: str | None, store: Store, workers: int | None) -> int:
    """Encode what the store lacks on the cluster; how many cells that were.

    Cells that cannot be read are left to whoever reads the store afterwards, and told there.

    Args:
        features: fitted.
        frame: the rows.
        root: folder or archive of media; workers must see it at the same place.
        store: where embeddings are kept.
        workers: actors; None takes one per core of the cluster.
    """
    count = 0
    with cluster(workers) as ray:
        for modality in features.schema.modalities:
            encoder = features.encoders[modality.name]
            if modality.kind == "tabular" or modality.train != "frozen" or not encoder.stored:
                continue
            missing = _missing(cells(frame, modality, root), encoder, store)
            if missing:
                count += _encode(ray, encoder, missing, store, workers)
    return count


def _missing(columns: list[list[Any]], encoder: Encoder, store: Store) -> dict[bytes, Any]:
    result: dict[bytes, Any] = {}
    for cell in (cell for column in columns for cell in column if cell is not None):
        try:
            result.setdefault(cell_key(cell), cell)
        except CellError:
            continue  # told when the column is read
    lengths = store.lengths(encoder.store_key(), list(result))
    return {key: cell for (key, cell), length in zip(result.items(), lengths, strict=True) if length is None}


def _encode(ray: Any, encoder: Encoder, missing: Mapping[bytes, Any], store: Store, workers: int | None) -> int:
    import ray.data as data

    _quiet(data.DataContext.get_current())
    count = workers or max(1, min(int(ray.cluster_resources().get("CPU", 1)), len(missing)))
    rows = data.from_items([{"key": key, "cell": cell} for key, cell in missing.items()], override_num_blocks=count)
    encoded = rows.map_batches(
        EncodeCells,
        fn_constructor_args=(encoder.name(), encoder.options(), surroundings()),
        batch_size=BATCHES * encoder.batch_size,
        compute=data.ActorPoolStrategy(size=count),
        num_cpus=1,
    )
    kept = 0
    for batch in encoded.iter_batches(batch_size=None, batch_format="pandas"):
        arrays = dict(_arrays(cast(pd.DataFrame, batch)))
        store.put_many(encoder.store_key(), arrays, encoder.name())
        kept += len(arrays)
    return kept


def _quiet(context: Any) -> None:
    """Ray Data tells every step of its own on the terminal."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _arrays(batch: pd.DataFrame) -> Iterator[tuple[bytes, np.ndarray]]:
    for key, raw, width in zip(batch["key"], batch["tokens"], batch["width"], strict=True):
        if width:
            yield bytes(key), np.frombuffer(raw, np.float32).reshape(-1, int(width))


class EncodeCells:
    """An actor's encoder: batches of cells to the bytes of their tokens (T, D); width 0 where one cannot be read."""

    def __init__(self, name: str, options: Mapping[str, Any], places: Mapping[str, str]) -> None:
        """Make the encoder; its weights are loaded by the first batch."""
        import os

        import torch

        os.environ.update(places)
        torch.set_num_threads(1)
        self._encoder: Encoder = registry.find("encoders", name)(**options)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """One batch."""
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unreadable cells are told where the column is read
            result = embed(self._encoder, list(batch["cell"]), None, name="cells", progress=False)
        raw = [x[mask].astype(np.float32).tobytes() for x, mask in zip(result.x, result.mask, strict=True)]
        return {"key": list(batch["key"]), "tokens": raw, "width": (result.mask.any(1) * result.x.shape[2]).tolist()}
