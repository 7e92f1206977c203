"""Ray: workers on a cluster, and cells encoded there."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from plait.base import registry
from plait.base.cluster import Head, cluster, surroundings
from plait.base.encoder import Encoder
from plait.base.errors import CellError, PlaitError
from plait.base.machine import resident_mb
from plait.data.cells import cells
from plait.data.media.given import cell_key
from plait.encoders.embed import embed
from plait.encoders.featurize import Featurizer
from plait.store import Store
from plait.study.engine import Engine, Event, Job, Worker, setting_from_dict, setting_to_dict
from plait.study.subjects import Finished
from plait.study.tables import Setting

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


class RayWorker:
    """An actor. plait must be installed on its machine, and the study's files must lie at the same place there."""

    def __init__(self, setting: Mapping[str, Any], places: Mapping[str, str]) -> None:
        """Nothing is read yet."""
        os.environ.update(places)
        os.environ["PLAIT_QUIET"] = "1"
        self._worker = Worker(setting_from_dict(setting))

    def where(self) -> tuple[str, int]:
        """Machine and process."""
        return socket.gethostname(), os.getpid()

    def do(self, job: Job) -> tuple[Finished | None, dict[str, Any]]:
        """One job."""
        return self._worker.do(job)


class RayEngine(Engine):
    """Jobs as tasks of actors, on as many cores as the cluster has."""

    def __init__(self, setting: Setting, workers: int | None, jobs: int) -> None:
        """Connect and start the actors."""
        self._open = contextlib.ExitStack()
        self._ray = self._open.enter_context(cluster(workers))
        self._head = Head(self._ray)
        available = int(self._ray.cluster_resources().get("CPU", 1))
        self.workers = workers or max(1, min(available, jobs))
        setting = dataclasses.replace(setting, threads=max(1, available // self.workers))
        self._arguments = (setting_to_dict(setting), surroundings())
        self._kind = self._ray.remote(num_cpus=1, max_restarts=0)(RayWorker)
        self._actors: dict[int, Any] = {}
        self._places: dict[int, tuple[str, int]] = {}
        self._flying: dict[int, tuple[Any, Job]] = {}
        self._reasons: dict[int, str] = {}
        for worker in range(self.workers):
            self._start(worker)

    def _start(self, worker: int) -> None:
        self._actors[worker] = self._kind.remote(*self._arguments)
        self._places.pop(worker, None)

    def idle(self) -> list[int]:
        """Actors without a job."""
        return [worker for worker in self._actors if worker not in self._flying]

    def submit(self, worker: int, job: Job) -> None:
        """Queue it at the actor, which may still be starting."""
        self._flying[worker] = (self._actors[worker].do.remote(job), job)

    def events(self, seconds: float) -> list[Event]:
        """Results, and actors that have died; those are started anew."""
        if not self._flying:
            time.sleep(seconds)
            return []
        known = {reference: worker for worker, (reference, _) in self._flying.items()}
        prepared, _ = self._ray.wait(list(known), num_returns=1, timeout=seconds)
        if not prepared:
            self._head.check()
        return [self._event(known[reference], reference) for reference in prepared]

    def _event(self, worker: int, reference: Any) -> Event:
        _, job = self._flying.pop(worker)
        errors = self._ray.exceptions
        try:
            finished, facts = self._ray.get(reference)
        except (errors.ActorDiedError, errors.ActorUnavailableError, errors.OutOfMemoryError) as error:
            self._start(worker)
            said = " ".join(str(error).split())[:300]
            return Event(worker, job, died=self._reasons.pop(worker, None) or f"the Ray worker died: {said}")
        except errors.RayTaskError as error:  # an actor that cannot be made: every further one would fail as well
            raise PlaitError(f"a Ray worker failed: {' '.join(str(error.cause).split())[:300]}") from None
        return Event(worker, job, finished, facts)

    def stop(self, worker: int, reason: str) -> None:
        """Kill the actor."""
        self._reasons[worker] = reason
        self._ray.kill(self._actors[worker])

    def memory_mb(self, worker: int) -> float | None:
        """Memory in MB of the actors on this machine; on others, Ray's own limit holds."""
        if worker not in self._places:
            prepared, _ = self._ray.wait([self._actors[worker].where.remote()], timeout=0)
            if not prepared:
                return None
            self._places[worker] = self._ray.get(prepared[0])
        host, process = self._places[worker]
        return resident_mb(process) if host == socket.gethostname() else None

    def close(self) -> None:
        """End the actors; a cluster that was there before stays."""
        for actor in () if self._head.lost else self._actors.values():
            self._ray.kill(actor)
        self._open.close()
