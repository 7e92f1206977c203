"""What is told of a fit: seconds and memory of its stages, weights, versions, all that repeats it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from plait.base import memory, precision
from plait.base.version import versions
from plait.branches.branches import trained_weights
from plait.estimators.fit_settings import FitSettings
from plait.estimators.listeners import frozen_weights

if TYPE_CHECKING:
    from plait.estimators.prepared import Prepared
    from plait.training.crossfit import Members
    from plait.training.design import Design
    from plait.training.settings import Training


class Clock:
    """Seconds and peak memory of each stage."""

    def __init__(self, seconds: Mapping[str, float] | None = None, peak_mb: Mapping[str, float] | None = None) -> None:
        self.seconds, self.peak_mb = dict(seconds or {}), dict(peak_mb or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what runs under it."""
        start = time.perf_counter()
        memory.begin_stage()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), memory.stage_mb())


def record_of(
    settings: FitSettings,
    seed: int,
    prepared: Prepared,
    clock: Clock,
    result: Members,
    design: Design,
    training: Training,
) -> dict[str, Any]:
    """What must be known to repeat the fit, and what it cost."""
    return {
        "seed": seed,
        "data_hash": prepared.digest,
        "rows": prepared.given,
        "distinct_rows": prepared.learned_from,
        "validation_rows": prepared.chosen_by,
        "width": design.width,
        "members": len(result.members),
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "dropout": design.dropout,
        "input_dropout": training.input_dropout,
        "trained_weights": sum(trained_weights(m) for m in result.members)
        + sum(enhancer.record.get("trained_weights", 0) for enhancer in prepared.enhancers.values())
        + sum(one["trained_weights"] for one in prepared.tuned.values()),
        "align": {name: dict(enhancer.record) for name, enhancer in prepared.enhancers.items()},
        "frozen_weights": frozen_weights(prepared.features.encoders, prepared.schema, result.members),
        "device": str(precision.device_of(settings.device)),
        "seconds": {k: round(v, 3) for k, v in clock.seconds.items()},
        "stage_peak_mb": clock.peak_mb,
        "peak_memory_mb": memory.process_mb(),
        "absent": {name: float((~there).float().mean()) for name, there in prepared.inputs.present.items()},
        "encoders": {
            name: {"name": e.name(), "licence": e.licence, "dim": e.dim, "fingerprint": e.fingerprint()}
            for name, e in prepared.features.encoders.items()
        },
        "versions": versions(),
    }
