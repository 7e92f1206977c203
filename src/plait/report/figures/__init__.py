"""Figures of the report, one file per topic; each function gives a matplotlib Figure, or None with nothing to draw."""
