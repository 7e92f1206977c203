"""The pages after a fit and after a study: HTML with its figures inside, the same figures and tables as files beside it."""

from __future__ import annotations

from plait.report.explained import write_explanation
from plait.report.fit import write_report

__all__ = ["write_explanation", "write_report"]
