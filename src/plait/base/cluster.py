"""Ray: a cluster that is there, or one started here, and work spread over it with the answers in order."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from plait.base.errors import ConfigError, PlaitError, PlaitWarning, nearest, need, warn
from plait.base.machine import cores

#: Where the long work runs: in this process, or on a cluster.
ENGINES = ("local", "ray")
#: Variables that say where things lie, handed to workers on other machines.
PLACES = ("PLAIT_DATA", "PLAIT_STORE", "HF_HUB_OFFLINE", "OMP_WAIT_POLICY")
#: How often a job whose worker died is begun anew.
RETRIES = 3
#: Jobs for each worker that may be done before the next answer in order is: what is kept in memory is bounded.
AHEAD = 4
#: Seconds that nothing comes from a cluster before it is asked whether it is there at all, and that its head may be away.
QUIET, AWAY = 5.0, 30.0


def check_engine(engine: str, *more: str) -> None:
    """Refuse an engine that there is not."""
    known = (*ENGINES, *more)
    if engine not in known:
        raise ConfigError(f"engine: expected {' or '.join(known)}, found '{engine}' ({nearest(engine, known)})")


@contextmanager
def cluster(workers: int | None) -> Iterator[Any]:
    """Ray, connected: to ``RAY_ADDRESS`` or a cluster on this machine if there is one, else to one started here and ended after.

    Raises:
        MissingDependencyError: Ray is not installed.
        PlaitError: the cluster cannot be reached.
    """
    ray = need("ray", "ray")
    begun = not ray.is_initialized()
    if begun:
        _check_there(os.environ.get("RAY_ADDRESS", ""))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError as error:
            if os.environ.get("RAY_ADDRESS"):
                raise PlaitError(f"the Ray cluster at {os.environ['RAY_ADDRESS']} cannot be reached: {error}") from None
            ray.init(address="local", num_cpus=max(workers or 1, cores()), include_dashboard=False, **quiet)
    try:
        yield ray
    finally:
        if begun:
            ray.shutdown()


def _check_there(address: str) -> None:
    """Refuse an address at which nobody answers: Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise PlaitError(
            f"the Ray cluster at {address} cannot be reached: {reason}; start it, or unset RAY_ADDRESS"
        ) from None


class Head:
    """The head of a cluster, asked whether it still answers: Ray itself would wait a minute and then end this process."""

    def __init__(self, ray: Any) -> None:
        self.address = str(ray.get_runtime_context().gcs_address)
        self.lost = False
        self._ray = ray
        self._since: float | None = None

    def first(self, references: Iterable[Any], seconds: float) -> list[Any]:
        """The first of the answers that is there, waiting so long for one; none where nothing comes.

        Raises:
            PlaitError: the head is lost.
        """
        done: list[Any] = self._ray.wait(list(references), num_returns=1, timeout=seconds)[0]
        if not done:
            self.check()
        return done

    def check(self) -> None:
        """Call it when nothing comes."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
            self._since = None
        except OSError:
            self._since = time.monotonic() if self._since is None else self._since
            if self.lost or time.monotonic() - self._since > AWAY:
                self.lost = True
                raise PlaitError(
                    f"the Ray cluster at {self.address} is lost: its head is silent; start it again and give the same command"
                ) from None


class Handed:
    """What workers are made with, put on the cluster once for several calls of ``on_cluster``; each makes what it needs once."""

    def __init__(self, ray: Any, given: Sequence[Any]) -> None:
        """``given``: as ``on_cluster`` takes it."""
        self.reference, self.key = ray.put(tuple(given)), uuid.uuid4().hex


def surroundings() -> dict[str, str]:
    """What workers must know of this process's surroundings."""
    return {name: os.environ[name] for name in PLACES if name in os.environ}


def on_cluster(
    make: Callable[..., Callable[..., Any]],
    given: Sequence[Any] | Handed,
    jobs: Iterable[Sequence[Any]],
    workers: int | None,
    *,
    gpus: float = 0,
) -> Iterator[Any]:
    """What a worker answers to each job, in the order of the jobs.

    Args:
        make: called once in every worker's process with ``given``; what it returns is called with the parts of a job. Workers
            must be able to import it: plait must be installed on their machines.
        given: handed over once for all workers of a machine; or what was handed over before.
        jobs: taken as workers become free, a few ahead of what was answered.
        workers: jobs at a time; None: one per core of the cluster.
        gpus: that a worker needs, or a part of one.

    Raises:
        PlaitError: a job's own error, as it would be raised here; or a job whose workers died four times.
    """
    with cluster(workers) as ray:
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        # Tasks, not actors: what a lost machine had begun goes to any core that becomes free.
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_work)
        handed = given if isinstance(given, Handed) else Handed(ray, given)
        waiting, flying = iter(jobs), dict[Any, int]()
        answers, sent, given_out, head = dict[int, Any](), 0, 0, Head(ray)
        while True:
            while len(flying) < count and sent < given_out + AHEAD * count:
                if (job := next(waiting, None)) is None:
                    break
                flying[task.remote(handed.key, make, [handed.reference], surroundings(), tuple(job))] = sent
                sent += 1
            if not flying:
                return
            for done in head.first(flying, QUIET):
                answers[flying.pop(done)] = _answer(ray, done)
            while given_out in answers:
                result, said = answers.pop(given_out)
                given_out += 1
                for text in said:
                    warn(text)
                if isinstance(result, PlaitError):
                    raise result  # jobs under way end unread: to cancel one as it ends makes Ray (2.60) abort this process
                yield result


def _answer(ray: Any, reference: Any) -> Any:
    errors = ray.exceptions
    try:
        return ray.get(reference)
    except errors.RayTaskError as error:
        raise PlaitError(f"a Ray worker failed: {' '.join(str(error.cause).split())[:300]}") from None
    except errors.RayError as error:
        said = " ".join(str(error).split())[:300]
        raise PlaitError(f"a Ray worker died {RETRIES + 1} times: {said}; look at its memory") from None


#: In a worker's process: what ``make`` made there, by the key of the call that it was made for; the last one alone.
_made: dict[str, Callable[..., Any]] = {}


def _work(
    key: str,
    make: Callable[..., Callable[..., Any]],
    given: Sequence[Any],
    places: Mapping[str, str],
    job: Sequence[Any],
) -> tuple[Any, list[str]]:
    """The job's answer or its own error, and what was warned of; ``given`` holds a reference to what ``make`` is called with."""
    import ray
    import torch

    result: Any
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PlaitWarning)
        try:
            if key not in _made:
                os.environ.update(places)
                os.environ["PLAIT_QUIET"] = "1"
                torch.set_num_threads(1)
                _made.clear()
                _made[key] = make(*ray.get(given[0]))
            result = _made[key](*job)
        except PlaitError as error:
            result = error
    said = [str(one.message) for one in caught if issubclass(one.category, PlaitWarning)]
    return result, list(dict.fromkeys(said))
