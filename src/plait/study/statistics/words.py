"""The rule that picks the words for a comparison. It knows five verdicts and no others."""

from __future__ import annotations

import math

#: Level of every test.
ALPHA = 0.05
BETTER, WORSE, EQUIVALENT, SAME, OPEN = "better", "worse", "equivalent", "identical", "not decided"
#: Test rows below which nothing is decided: resampled rows vary too little by then to be believed.
LEAST_ROWS = 20
#: Seeds (or splits) below which equal scores prove nothing: two may agree by chance.
LEAST_SEEDS = 3


def verdict(
    p: float,
    equivalence: float,
    gain: float,
    *,
    identical: bool = False,
    alpha: float = ALPHA,
    informed: bool = True,
    comparable: bool = True,
) -> str:
    """One of ``better``, ``worse``, ``equivalent``, ``identical``, ``not decided``.

    In this order: neither side better than a constant answer, or too few rows: not decided. Every pair the same: identical.
    The corrected test below alpha: better or worse. Both one-sided tests of equivalence below alpha: equivalent. Otherwise
    the runs do not decide, and that is what is said. Equal scores count only where both sides are ``comparable``.

    Args:
        p: of the difference, after correction for the number of comparisons.
        equivalence: p of the test of equivalence.
        gain: mean difference, above 0 where it is for the better.
        identical: every pair gave the same value.
        alpha: level.
        informed: at least one side is better than a constant answer, on enough test rows for any conclusion.
        comparable: both sides are, on enough seeds and rows for equal scores to mean anything.

    Example:
        >>> verdict(0.01, 0.9, -0.1), verdict(0.4, 0.02, 0.001), verdict(0.4, 0.3, 0.02)
        ('worse', 'equivalent', 'not decided')
        >>> verdict(1.0, 0.0, 0.0, identical=True, informed=False, comparable=False)
        'not decided'
    """
    if not informed:
        return OPEN
    if identical:
        return SAME if comparable else OPEN
    if p < alpha:
        return BETTER if gain > 0 else WORSE
    return EQUIVALENT if comparable and equivalence < alpha else OPEN


def in_words(
    text: str,
    *,
    p: float,
    d: float,
    margin: float,
    equivalence: float,
    seeds: int,
    splits: int = 1,
    needed: int | None = 0,
    why: str = "",
) -> str:
    """A verdict as a reader sees it.

    Args:
        text: what ``verdict`` gave.
        p: of the difference, corrected.
        d: Cohen's d for pairs.
        margin: of equivalence.
        equivalence: its p.
        seeds: pairs' seeds.
        splits: splits of each.
        needed: seeds that this difference would need; None: no number would do; 0: not asked.
        why: it is not decided although the scores are equal or differ.

    Example:
        >>> in_words("better", p=0.0123, d=1.84, margin=0.01, equivalence=1.0, seeds=5)
        'better (p = 0.012, d = 1.8)'
        >>> in_words("not decided", p=0.3, d=0.4, margin=0.01, equivalence=0.2, seeds=5, needed=31)
        'not decided with 5 seeds (about 31 would be needed)'
    """
    if text in (BETTER, WORSE):
        small = f", within {short(margin)}" if equivalence < ALPHA else ""
        size = f", d = {short(abs(d), 1)}" if not math.isnan(d) else ""
        return f"{text}{small} ({p_text(p)}{size})"
    if text == EQUIVALENT:
        return f"equivalent within {short(margin)} ({p_text(equivalence)})"
    design = f"{seeds} seed{'s' * (seeds != 1)}" + (f" of {splits} splits" if splits > 1 else "")
    if text == SAME:
        return f"identical in {design}"
    if why:
        return why
    more = " (more rows would be needed)" if needed is None else f" (about {needed} would be needed)" if needed else ""
    return f"not decided with {design}{more}"


def p_text(p: float) -> str:
    """``p = 0.012``; very small ones as a bound.

    Example:
        >>> p_text(0.0123), p_text(0.00001)
        ('p = 0.012', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2f}" if p >= 0.1 else f"p = {p:.3f}"


def short(value: float, digits: int | None = None) -> str:
    """A number in few digits."""
    if math.isinf(value):
        return "∞"
    return f"{value:.{digits}f}" if digits is not None else f"{value:.2g}"
