"""One folder per paper: what it says (``paper.yaml``), its protocol, its recipes, its figures; and ``reproduce``."""

from __future__ import annotations

from plait.papers.holding import Reproduction
from plait.papers.paper import Paper, names, read
from plait.papers.running import reproduce

__all__ = ["Paper", "Reproduction", "names", "read", "reproduce"]
