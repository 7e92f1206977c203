"""Workers on a Ray cluster: one actor each, which keeps its tables and prepared rows as a process here would."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from plait.base.errors import PlaitError
from plait.study.cluster import cluster, surroundings
from plait.study.engine import Engine, Event, Job, Worker, setting_from_dict, setting_to_dict
from plait.study.execute import Finished
from plait.study.setting import Setting, resident_mb


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
        """Of actors on this machine; on others, Ray's own limit holds."""
        if worker not in self._places:
            prepared, _ = self._ray.wait([self._actors[worker].where.remote()], timeout=0)
            if not prepared:
                return None
            self._places[worker] = self._ray.get(prepared[0])
        host, process = self._places[worker]
        return resident_mb(process) if host == socket.gethostname() else None

    def close(self) -> None:
        """End the actors; a cluster that was there before stays."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._open.close()
