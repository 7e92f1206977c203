"""Racing: a variant that is surely worse than the leader gets no more runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from plait.study.spec import CLEAN
from plait.study.statistics.paired import family_variance, resampled_t

#: A variant leaves when it is this surely worse than the leader (one-sided, corrected for overlapping splits).
ALPHA = 0.05
#: Pairs of runs before anyone leaves.
LEAST = 3


class Racing:
    """Names the variants that need no more runs, from the lines so far; ``Study.run(race=...)`` asks it after every run.

    Source: Maron and Moore 1994, Hoeffding Races; with the corrected t-test of Nadeau and Bengio (2003) for the bound.
    """

    def __init__(self, metric: str, *, lower: bool, kept: Collection[str] = ()) -> None:
        """Race by a metric; ``lower`` is better or not; ``kept`` never leave."""
        self.metric, self.sign, self.kept = metric, -1.0 if lower else 1.0, set(kept)

    def __call__(self, lines: Sequence[Mapping[str, Any]]) -> set[str]:
        """Labels of the variants that leave."""
        scores = self.scores(lines)
        counts = {label: len(found) for label, found in scores.items()}
        ready = [label for label, count in counts.items() if count >= LEAST]
        if len(ready) < 2:
            return set()
        leader = max(ready, key=lambda label: (np.mean(list(scores[label].values())), counts[label]))
        ratio = _ratio(lines)
        behind = {label: differences(scores[leader], found) for label, found in scores.items() if label != leader}
        least = family_variance([d for d in behind.values() if len(d) >= LEAST])
        return {
            label
            for label, d in behind.items()
            if label not in self.kept
            and len(d) >= LEAST
            and d.mean() > 0
            and resampled_t(d, ratio, least).p < 2 * ALPHA
        }

    def scores(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[tuple[Any, ...], float]]:
        """Variant -> (data, seed, split) -> score on clean rows with everything present, higher is better."""
        found: dict[str, dict[tuple[Any, ...], float]] = {}
        for line in lines:
            if line["status"] != "done":
                continue
            for told in line["evaluations"]:
                value = told["metrics"].get(self.metric)
                if told["condition"] == CLEAN and list(told["present"]) == list(line["subset"]) and value is not None:
                    place = (line["dataset"], line["seed"], line["split"])
                    found.setdefault(str(line["variant"]), {})[place] = self.sign * float(value)
        return found


def _ratio(lines: Sequence[Mapping[str, Any]]) -> float:
    done = next(line for line in lines if line["status"] == "done")
    return float(done["test_rows"]) / max(1.0, float(done["train_rows"]))


def differences(leader: Mapping[tuple[Any, ...], float], other: Mapping[tuple[Any, ...], float]) -> np.ndarray:
    """How far one variant is ahead of another on each split that both have (k,)."""
    return np.array([leader[place] - other[place] for place in sorted(leader.keys() & other.keys())])
