"""What a study proves, what it does not, and what it would need to.

======================  ==========================================================================================
name                    what it gives
======================  ==========================================================================================
``summarise``           mean, spread and interval (seeds and test rows) of every variant
``compare``             every variant against the best or a reference, with words
``check_claims``        a paper's numbers and their order beside ours: held, not held, not decidable
``rank_variants``       mean ranks over several data sets, Friedman and Nemenyi
``crossed_t``           t-test over seeds and rows, for seeds that share their test rows
``resampled_t``         corrected resampled t-test, for splits that share training rows (Nadeau and Bengio)
``wilcoxon``            signed-rank test
``permutation``         paired permutation test
``least_p``             the smallest p that those two can reach with so many pairs
``mcnemar``             two trained models on the same rows
``holm``                correction for many comparisons
``cohens_d``            size of a paired difference
``cliffs_delta``        how far two samples lie apart, by order alone
``tost``                equivalence within a margin
``seeds_needed``        seeds that a difference would need
``critical_difference`` Nemenyi's, of mean ranks
``verdict``             the rule that picks between better, worse, equivalent, identical and not decided
``in_words``            the same as a reader sees it
======================  ==========================================================================================
"""

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
