"""Freed memory goes back to the system."""

import math
import os
import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from plait.base import machine
from plait.base.machine import give_back, resident_mb
from plait.data.table import read_chunks


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


@pytest.mark.parametrize("name", ["rows.parquet", "folder"])
def test_what_was_read_of_a_parquet_file_is_let_go(name: str, tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    with parquet.ParquetWriter(path / "a.parquet" if name == "folder" else path, arrow.schema([("x", "f8")])) as writer:
        for seed in range(20):  # row groups of 1.6 MB that cannot be compressed
            writer.write_table(arrow.table({"x": np.random.default_rng(seed).random(200_000)}), row_group_size=200_000)
    before, held = arrow.total_allocated_bytes(), []
    for piece in read_chunks(path, 50_000):
        assert len(piece) == 50_000
        held.append(arrow.total_allocated_bytes() - before)
    assert len(held) == 80
    assert max(held) < 16_000_000, "half of the file"
