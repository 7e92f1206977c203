"""Freed memory goes back to the system."""

import math
import os
import platform
import sys

import numpy as np
import pytest

from plait.base import machine
from plait.base.machine import give_back, resident_mb


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep no freed pieces")
def test_freed_pieces_between_kept_ones_are_given_back() -> None:
    pieces = [np.ones(100_000, np.uint8) for _ in range(1000)]  # each below what malloc asks the system for alone
    kept = pieces[::100]
    del pieces
    before = resident_mb(os.getpid())
    give_back()
    after = resident_mb(os.getpid())
    assert before is not None
    assert after is not None
    assert len(kept) == 10
    assert after < before - 50


def test_a_system_without_resource_says_nothing_and_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.process_mb() > 50
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert math.isnan(machine.process_mb())
