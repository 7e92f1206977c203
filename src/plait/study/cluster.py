"""A Ray cluster: the one that is there, or a local one for as long as it is needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plait.base.errors import PlaitError, need

#: Variables that say where things lie, handed to workers on other machines.
PLACES = ("PLAIT_DATA", "PLAIT_STORE", "HF_HUB_OFFLINE", "OMP_WAIT_POLICY")


@contextmanager
def cluster(workers: int | None) -> Iterator[Any]:
    """Ray, connected: to ``RAY_ADDRESS`` or a cluster on this machine if there is one, else to one started here and ended after.

    Raises:
        MissingDependencyError: Ray is not installed.
        PlaitError: the cluster cannot be reached.
    """
    from plait.study.engine_local import cores

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
