"""Conditions: what is done to the inputs before they are encoded, one file per condition."""

from plait.conditions._base import Condition
from plait.conditions._chain import Chain
from plait.conditions._parse import parse

__all__ = ["Chain", "Condition", "parse"]
