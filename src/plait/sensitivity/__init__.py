"""How a score answers to settings, in each regime of training: ``plait sensitivity``."""

from __future__ import annotations

from plait.sensitivity.ranges import Range, read_ranges
from plait.sensitivity.regimes import Regime, read_regimes
from plait.sensitivity.result import Sensitivity
from plait.sensitivity.search import sensitivity

__all__ = ["Range", "Regime", "Sensitivity", "read_ranges", "read_regimes", "sensitivity"]
