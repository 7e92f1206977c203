"""What a process takes of its machine, memory and cores, is given back."""

import math
import os
import platform
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

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


def blas() -> list[dict[str, object]]:
    return [library for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("first_out", [0, 1])
def test_of_two_threads_on_one_core_the_last_gives_the_cores_of_blas_back(first_out: int) -> None:
    inside, may_leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def work(number: int) -> None:
        with machine.blas_on_one_core():
            inside[number].set()
            may_leave[number].wait(60)

    before = blas()
    if not before:
        pytest.skip("threadpoolctl knows no BLAS here")
    machine.set_cores([{**library, "num_threads": 2} for library in before])
    try:
        workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for worker, entered in zip(workers, inside, strict=True):
            worker.start()
            assert entered.wait(60)
        assert {library["num_threads"] for library in blas()} == {1}
        for number in (first_out, 1 - first_out):
            may_leave[number].set()
            workers[number].join(60)
        assert {library["num_threads"] for library in blas()} == {2}
    finally:
        machine.set_cores(before)
