"""Ray: workers on a cluster, and cells encoded there."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.base import registry
from plait.base.cluster import Head, cluster, on_cluster, surroundings
from plait.base.encoder import Encoder
from plait.base.errors import CellError, PlaitError
from plait.base.machine import resident_mb
from plait.data.cells import cells
from plait.data.media.given import cell_key
from plait.encoders.batches import Forward
from plait.encoders.embed import embed
from plait.encoders.featurize import Featurizer
from plait.store import Store
from plait.study.engine import Engine, Event, Executor, Job, setting_from_dict, setting_to_dict
from plait.study.subjects import Finished
from plait.study.tables import Setting

#: Cells of a batch, in batches of the encoder.
BATCHES = 4
#: Actors one after another that die before they have started.
UNBORN = 5


def encode_ray(features: Featurizer, frame: pd.DataFrame, root: str | None, store: Store, workers: int | None) -> int:
    """Encode what the store lacks on the cluster; how many cells that were.

    Cells that cannot be read are left to whoever reads the store afterwards, and told there.
    ``root`` of media must lie at the same place for all; ``workers``: batches at a time, None: one per core of the cluster.
    """
    count = 0
    with cluster(workers):  # one for all modalities
        for modality in features.schema.modalities:
            encoder = features.encoders[modality.name]
            if modality.kind == "tabular" or modality.train != "frozen" or not encoder.stored:
                continue
            missing = _missing(cells(frame, modality, root), encoder, store)
            if missing:
                count += _encode(encoder, missing, store, workers)
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


def _encode(encoder: Encoder, missing: Mapping[bytes, Any], store: Store, workers: int | None) -> int:
    keys, size, kept = list(missing), BATCHES * encoder.batch_size, 0
    batches = [keys[start : start + size] for start in range(0, len(keys), size)]
    jobs = ([[missing[key] for key in batch]] for batch in batches)
    done = on_cluster(EncodeCells, (encoder.name(), encoder.options()), jobs, workers)
    for batch, arrays in zip(batches, done, strict=True):
        readable = {key: array for key, array in zip(batch, arrays, strict=True) if len(array)}
        store.put_many(encoder.store_key(), readable, encoder.name())
        kept += len(readable)
    return kept


class EncodeCells:
    """A worker's encoder: the tokens (T, D) of each of some cells, none of one that cannot be read."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        """Make the encoder; its weights are loaded with the first batch, and stay for the others."""
        self._encoder: Encoder = registry.find("encoders", name)(**options)
        self._forward = Forward(self._encoder)

    def __call__(self, cells: Sequence[object]) -> list[np.ndarray]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unreadable cells are told where the column is read
            result = embed(self._encoder, cells, None, self._forward, name="cells", progress=False)
        return [x[mask].astype(np.float32) for x, mask in zip(result.x, result.mask, strict=True)]


class RayWorker:
    """An actor. plait must be installed on its machine, and the study's files must lie at the same place there."""

    def __init__(self, setting: Mapping[str, Any], places: Mapping[str, str]) -> None:
        os.environ.update(places)
        os.environ["PLAIT_QUIET"] = "1"
        self._worker = Executor(setting_from_dict(setting))

    def where(self) -> tuple[str, int]:
        """Machine and process."""
        return socket.gethostname(), os.getpid()

    def do(self, job: Job) -> tuple[Finished | None, dict[str, Any]]:
        """One job."""
        return self._worker.do(job)


class RayEngine(Engine):
    """Jobs as tasks of actors, on as many cores as the cluster has."""

    def __init__(self, setting: Setting, workers: int | None, jobs: int) -> None:
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
        self._starting: dict[int, Any] = {}
        self._unborn = 0
        self._flying: dict[int, tuple[Any, Job]] = {}
        self._again: dict[int, Job] = {}
        self._tried: list[Job] = []
        self._reasons: dict[int, str] = {}
        for worker in range(self.workers):
            self._start(worker)

    def _start(self, worker: int) -> None:
        self._actors[worker] = self._kind.remote(*self._arguments)
        self._places.pop(worker, None)
        self._starting[worker] = self._actors[worker].where.remote()

    def _meet(self) -> None:
        """Note which actors have started."""
        known, errors = {reference: worker for worker, reference in self._starting.items()}, self._ray.exceptions
        ready = self._ray.wait(list(known), num_returns=len(known), timeout=0)[0] if known else []
        for reference in ready:
            try:
                self._places[known[reference]] = self._ray.get(reference)
            except errors.RayError as error:
                self._unborn += 1
                if isinstance(error, errors.RayTaskError) or self._unborn > UNBORN:
                    raise PlaitError(f"a Ray worker failed: {' '.join(str(error).split())[:300]}") from None
                self._start(known[reference])
            else:
                self._unborn = 0
                del self._starting[known[reference]]

    def idle(self) -> list[int]:
        """Actors that have started and have no job; others may wait for a core that a lost machine had, for ever."""
        self._meet()
        self._resume()
        return self._free()

    def _free(self) -> list[int]:
        return [w for w in self._actors if w in self._places and w not in self._flying and w not in self._again]

    def _resume(self) -> None:
        """Give what died with its machine to an actor that has started, its own or, under its number, another's."""
        for worker in list(self._again):
            if worker not in self._places:
                other = next(iter(self._free()), None)
                if other is None:
                    return
                self._actors[worker], self._actors[other] = self._actors[other], self._actors[worker]
                self._places[worker] = self._places.pop(other)
                self._starting[other] = self._starting.pop(worker)
            self.submit(worker, self._again.pop(worker))

    def submit(self, worker: int, job: Job) -> None:
        self._flying[worker] = (self._actors[worker].do.remote(job), job)

    def events(self, seconds: float) -> list[Event]:
        """Results, and actors that have died; those are started anew, and what one did is tried once more."""
        self._meet()
        self._resume()
        stopped = [worker for worker in self._again if worker in self._reasons]
        if stopped:
            return [Event(w, self._again.pop(w), died=self._reasons.pop(w)) for w in stopped]
        if not self._flying:
            time.sleep(seconds)
            self._head.check()
            return []
        known = {reference: worker for worker, (reference, _) in self._flying.items()}
        events = (self._event(known[reference], reference) for reference in self._head.first(known, seconds))
        return [event for event in events if event is not None]

    def _event(self, worker: int, reference: Any) -> Event | None:
        _, job = self._flying.pop(worker)
        errors = self._ray.exceptions
        try:
            finished, facts = self._ray.get(reference)
        except (errors.ActorDiedError, errors.ActorUnavailableError, errors.OutOfMemoryError) as error:
            self._start(worker)
            if worker not in self._reasons and all(job is not tried for tried in self._tried):
                self._tried.append(job)
                self._again[worker] = job
                return None
            said = " ".join(str(error).split())[:300]
            return Event(worker, job, died=self._reasons.pop(worker, None) or f"the Ray worker died: {said}")
        except errors.RayTaskError as error:  # an actor that cannot be made: every further one would fail as well
            raise PlaitError(f"a Ray worker failed: {' '.join(str(error.cause).split())[:300]}") from None
        return Event(worker, job, finished, facts)

    def stop(self, worker: int, reason: str) -> None:
        self._reasons[worker] = reason
        self._ray.kill(self._actors[worker])

    def memory_mb(self, worker: int) -> float | None:
        """Memory in MB of the actors on this machine; on others, Ray's own limit holds."""
        if worker not in self._places:
            return None
        host, process = self._places[worker]
        return resident_mb(process) if host == socket.gethostname() else None

    def close(self) -> None:
        """End the actors; a cluster that was there before stays."""
        for actor in () if self._head.lost else self._actors.values():
            self._ray.kill(actor)
        self._open.close()
