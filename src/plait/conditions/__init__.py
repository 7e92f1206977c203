"""Conditions: what is done to the inputs before they are encoded, one file per condition."""

from plait.conditions.base import Condition
from plait.conditions.parse import Chain, parse

__all__ = ["Chain", "Condition", "parse"]

#: Modules that are no variants.
SHARED = ("base", "cells", "noise", "parse")
