"""The answer of the score to learning rate, batch size, dropout: a resumable search on validation rows."""

from __future__ import annotations

from plait.study.search.ranges import Range, Regime, read_ranges, read_regimes
from plait.study.search.result import Sensitivity
from plait.study.search.search import sensitivity

__all__ = ["Range", "Regime", "Sensitivity", "read_ranges", "read_regimes", "sensitivity"]
