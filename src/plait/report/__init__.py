"""The pages after a fit and after a study: HTML with its figures inside, the same figures and tables as files beside it."""

from __future__ import annotations

from plait.report.fit import FitReport, write_explanation, write_report

__all__ = ["FitReport", "write_explanation", "write_report"]
