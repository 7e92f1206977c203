"""The page after a fit: HTML with its figures inside, the same figures as SVG and the tables as CSV beside it."""

from __future__ import annotations

from plait.report.explained import write_explanation
from plait.report.page import write_report

__all__ = ["write_explanation", "write_report"]
