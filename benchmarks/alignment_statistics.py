"""What the alignment benchmarks say of differences: the mean, its 95 % interval, and p corrected by Holm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from plait.study.statistics.paired import Difference, holm


def corrected(tests: Mapping[str, Difference], reference: str) -> dict[str, str]:
    """Name -> what is said of its difference from the reference."""
    adjusted = holm(np.array([test.p for test in tests.values()])) if tests else []
    return {
        name: f"{test.value:+.3f} [{test.low:+.3f}, {test.high:+.3f}] from {reference}, p {p:.3f} (Holm)"
        for (name, test), p in zip(tests.items(), adjusted, strict=True)
    }


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean and standard deviation (n - 1)."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.3f} +- {spread:.3f}"
