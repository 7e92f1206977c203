"""What a study proves, what it does not, and what it would need to."""

from __future__ import annotations

from plait.study.statistics.claims import check_claims
from plait.study.statistics.compare import Ranks, compare, critical_difference, rank, rank_variants
from plait.study.statistics.paired import (
    Difference,
    cliffs_delta,
    cohens_d,
    crossed_t,
    holm,
    least_p,
    mcnemar,
    permutation,
    resampled_t,
    wilcoxon,
)
from plait.study.statistics.summary import Summary, summarise
from plait.study.statistics.verdicts import default_margin, in_words, seeds_needed, tost, verdict

__all__ = [
    "Difference",
    "Ranks",
    "Summary",
    "check_claims",
    "cliffs_delta",
    "cohens_d",
    "compare",
    "critical_difference",
    "crossed_t",
    "default_margin",
    "holm",
    "in_words",
    "least_p",
    "mcnemar",
    "permutation",
    "rank",
    "rank_variants",
    "resampled_t",
    "seeds_needed",
    "summarise",
    "tost",
    "verdict",
    "wilcoxon",
]
