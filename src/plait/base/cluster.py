"""Ray: a cluster that is there, or one started here, and work spread over it with the answers in order."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from plait.base.errors import ConfigError, PlaitError, PlaitWarning, nearest, need
from plait.base.machine import cores

#: Where the long work runs: in this process, or on a cluster.
ENGINES = ("local", "ray")
#: Variables that say where things lie, handed to workers on other machines.
PLACES = ("PLAIT_DATA", "PLAIT_STORE", "HF_HUB_OFFLINE", "OMP_WAIT_POLICY")
#: How often a worker that died is started anew, and its job with it.
RETRIES = 3
#: Jobs for each worker that may be done before the next answer in order is: what is kept in memory is bounded.
AHEAD = 4


def check_engine(engine: str) -> None:
    """Refuse an engine that there is not.

    Raises:
        ConfigError: it is neither ``local`` nor ``ray``.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine: expected local or ray, found '{engine}' ({nearest(engine, ENGINES)})")


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


def surroundings() -> dict[str, str]:
    """What workers must know of this process's surroundings."""
    return {name: os.environ[name] for name in PLACES if name in os.environ}


def on_cluster(
    make: Callable[..., Callable[..., Any]],
    given: Sequence[Any],
    jobs: Iterable[Sequence[Any]],
    workers: int | None,
    *,
    gpus: float = 0,
) -> Iterator[Any]:
    """What a worker answers to each job, in the order of the jobs.

    Args:
        make: called once by every worker with ``given``; what it returns is called with the parts of a job. A function or
            class that workers can import: plait must be installed on their machines.
        given: handed over once for all workers of a machine.
        jobs: taken as workers become free, a few ahead of what was answered.
        workers: processes; None: one per core of the cluster, at most as many as there are jobs, if that is known.
        gpus: that a worker needs, or a part of one.

    Raises:
        PlaitError: a job's own error, as it would be raised here; or a job whose workers died four times.
    """
    with cluster(workers) as ray:
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        if isinstance(jobs, Sequence):
            count = min(count, len(jobs))
        kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=RETRIES, max_task_retries=RETRIES)(_Worker)
        handed = ray.put(tuple(given))
        idle = [kind.remote(make, surroundings()) for _ in range(count)]
        actors, flying, answers = list(idle), dict[Any, tuple[Any, int]](), dict[int, Any]()
        try:
            waiting, sent, given_out = iter(jobs), 0, 0
            while True:
                while idle and sent < given_out + AHEAD * count and (job := next(waiting, None)) is not None:
                    actor = idle.pop()
                    flying[actor.do.remote([handed], *job)] = (actor, sent)
                    sent += 1
                if not flying:
                    return
                done, _ = ray.wait(list(flying), num_returns=1)
                actor, number = flying.pop(done[0])
                idle.append(actor)
                answers[number] = _answer(ray, done[0])
                while given_out in answers:
                    result, said = answers.pop(given_out)
                    given_out += 1
                    for text in said:
                        warnings.warn(text, PlaitWarning, stacklevel=2)
                    yield result
        finally:
            for actor in actors:
                with contextlib.suppress(Exception):  # dead already
                    ray.kill(actor)


def _answer(ray: Any, reference: Any) -> Any:
    errors = ray.exceptions
    try:
        return ray.get(reference)
    except errors.RayTaskError as error:
        if isinstance(error.cause, PlaitError):
            raise error.cause from None
        raise PlaitError(f"a Ray worker failed: {' '.join(str(error.cause).split())[:300]}") from None
    except (errors.RayActorError, errors.OutOfMemoryError) as error:
        raise PlaitError(
            f"a Ray worker died {RETRIES + 1} times: {' '.join(str(error).split())[:300]}; look at its memory"
        ) from None


class _Worker:
    """An actor that makes what does the work once, and then does one job after the other."""

    def __init__(self, make: Callable[..., Callable[..., Any]], places: Mapping[str, str]) -> None:
        """Nothing is made yet."""
        import torch

        os.environ.update(places)
        os.environ["PLAIT_QUIET"] = "1"
        torch.set_num_threads(1)
        self._make = make
        self._do: Callable[..., Any] | None = None

    def do(self, given: Sequence[Any], *job: Any) -> tuple[Any, list[str]]:
        """The job's answer, and what was warned of; ``given`` holds a reference to what ``make`` is called with."""
        import ray

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PlaitWarning)
            if self._do is None:
                self._do = self._make(*ray.get(given[0]))
            result = self._do(*job)
        said = [str(one.message) for one in caught if issubclass(one.category, PlaitWarning)]
        return result, list(dict.fromkeys(said))
