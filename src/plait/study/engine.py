"""What every engine does: take jobs, tell what became of them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from plait.study.execute import Executor
from plait.study.reading import read_spec
from plait.study.runs import Run
from plait.study.setting import Setting
from plait.study.subject import Finished

#: What is done by a worker: ``run`` or ``encode``, with its plain values.
Job = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Event:
    """What became of a job.

    Attributes:
        worker: that did it.
        job: what it was asked.
        finished: of a run; None of an encoding, or when the worker died.
        facts: of an encoding.
        died: why there is no result; None if there is one.
    """

    worker: int
    job: Job
    finished: Finished | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    died: str | None = None


class Engine(ABC):
    """A pool of workers, each with one job at a time."""

    #: How many jobs may be in flight.
    workers: int

    @abstractmethod
    def idle(self) -> list[int]:
        """Workers that wait for a job."""

    @abstractmethod
    def submit(self, worker: int, job: Job) -> None:
        """Give a waiting worker a job."""

    @abstractmethod
    def events(self, seconds: float) -> list[Event]:
        """What has happened, waiting at most so long for something."""

    @abstractmethod
    def stop(self, worker: int, reason: str) -> None:
        """End a worker and its job, which counts as died for this reason."""

    @abstractmethod
    def memory_mb(self, worker: int) -> float | None:
        """Resident memory of a worker, if it is known."""

    @abstractmethod
    def close(self) -> None:
        """End all workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def setting_to_dict(setting: Setting) -> dict[str, Any]:
    """Plain values for another process.

    Raises:
        ValueError: tables in memory cannot be sent.
    """
    if setting.frames:
        raise ValueError("tables in memory stay in this process")
    schemas = {str(k): v for k, v in setting.schemas.items()}
    options = {"spec": setting.spec.to_dict(), "base": str(setting.base), "schemas": schemas}
    return {**options, "store": setting.store, "threads": setting.threads}


def setting_from_dict(option: Mapping[str, Any]) -> Setting:
    """Rebuild a setting from plain values."""
    spec, _ = read_spec(option["spec"], "study")
    schemas = {int(k): v for k, v in option["schemas"].items()}
    return Setting(spec, Path(option["base"]), schemas, option["store"], threads=int(option["threads"]))


class Worker:
    """What sits at the other end of every engine."""

    def __init__(self, setting: Setting) -> None:
        """Nothing is read yet."""
        self._executor = Executor(setting)

    def do(self, job: Job) -> tuple[Finished | None, dict[str, Any]]:
        """One job."""
        if job["kind"] == "run":
            return self._executor.run(Run.from_dict(job["run"])), {}
        from plait.study.encoding import encode

        return None, encode(self._executor, job)


class Inline(Engine):
    """One worker that is this process: for tables in memory, for tests and for looking into."""

    workers = 1

    def __init__(self, setting: Setting) -> None:
        """Ready at once."""
        self._worker = Worker(setting)
        self._events: list[Event] = []

    def idle(self) -> list[int]:
        """Always, but for what was not fetched yet."""
        return [] if self._events else [0]

    def submit(self, worker: int, job: Job) -> None:
        """Do it."""
        finished, facts = self._worker.do(job)
        self._events.append(Event(worker, job, finished, facts))

    def events(self, seconds: float) -> list[Event]:
        """What was done."""
        result, self._events = self._events, []
        return result

    def stop(self, worker: int, reason: str) -> None:
        """Not possible: a job that has begun is finished."""

    def memory_mb(self, worker: int) -> float | None:
        """Not watched."""
        return None

    def close(self) -> None:
        """Nothing to end."""
