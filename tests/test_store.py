"""The store: nothing is lost, nothing is stale, and whatever is wrong with the disk is said in one line."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmdb
import numpy as np
import pytest

from plait.base.errors import ConfigError, PlaitError, StoreError
from plait.store import Store
from plait.store import environment as store_environment
from plait.store.record import KEY, Runs, parse_size, show_size

FP = "0123456789abcdef" * 2
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def key(i: int) -> bytes:
    return i.to_bytes(16, "big")


def vectors(n: int, width: int = 640, seed: int = 0) -> dict[bytes, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {key(i): rng.normal(size=(1, width)).astype(np.float32) for i in range(n)}


def in_child(work: Callable[[], str]) -> str:
    """What ``work`` returns, or the error it raises, in a forked process: it may crash or lose rights there."""
    end, start = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # a child that waits for a lock of its parent's threads would wait for ever
        try:
            said = work()
        except BaseException as error:  # noqa: BLE001  # the parent looks at it
            said = f"{type(error).__name__}: {error}"
        os.write(start, said.encode()[:4000])
        os._exit(0)
    os.close(start)
    with os.fdopen(end, "rb") as file:
        said = file.read().decode()
    status = os.waitpid(child, 0)[1]
    return said if status == 0 else f"crashed with signal {os.WTERMSIG(status)}"


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    told = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# What goes in comes out


def hashed(n: int, first: int = 0) -> dict[bytes, np.ndarray]:
    """So many small cells under keys as they are in earnest."""
    numbers = np.random.default_rng(first).normal(size=(n, 1, 8)).astype(np.float16)
    return {blake2b(str(first + i).encode(), digest_size=16).digest(): numbers[i] for i in range(n)}


def same_cells(store: Store, cells: dict[bytes, np.ndarray]) -> bool:
    found = store.get_many(FP, list(cells))
    return all(a is not None and a.tobytes() == b.tobytes() for a, b in zip(found, cells.values(), strict=True))


def test_many_small_cells_are_written_in_one_piece_and_found_beside_others(tmp_path: Path) -> None:
    single, many, more = hashed(300), hashed(3000, 100), hashed(5000, 10_000)
    with Store(tmp_path) as store, Store(tmp_path) as other:
        store.put_many(FP, single)
        assert other.lengths(FP, list(many)[-2:]) == [None, None]
        kept = store.put_many(FP, many)  # 200 of them are there already, and stay
        assert same_cells(store, {**many, **single})
        assert kept[next(iter(many))].tobytes() == single[next(iter(many))].tobytes()
        assert other.lengths(FP, list(many)[-2:]) == [1, 1]
        other.put_many(FP, more)
        other.put_many(FP, {**hashed(10, 99_000), **more})
        assert same_cells(store, more)
        assert store.lengths(FP, [*list(more)[:2], b"?" * 16, b"short"]) == [1, 1, None, None]
        assert [facts["entries"] for facts in store.sizes()] == [8110]
        assert store.lengths("another", list(more)[:2]) == [None, None]
    with Store(tmp_path) as store:
        assert same_cells(store, {**hashed(10, 99_000), **more, **many, **single})


def test_thousands_of_runs_that_another_process_removes_are_forgotten_at_once(tmp_path: Path) -> None:
    cells, index = hashed(2200), Runs(b"e" * KEY)
    keys, records = list(cells), [array.tobytes() for array in cells.values()]
    with lmdb.open(str(tmp_path), map_size=1 << 26) as opened:
        with opened.begin(write=True) as txn:
            for start in range(0, len(keys), 2):
                some = dict(zip(keys[start : start + 2], records[start : start + 2], strict=True))
                index.add(txn, some, 1, max(1, start - 1))  # which is taken by the run before
        with opened.begin() as txn:
            assert {key: bytes(record) for key, record in index.find(txn, keys).items()} == dict(
                zip(keys, records, strict=True)
            )
        with opened.begin(write=True) as txn:
            for key in [key for key, _ in txn.cursor() if key[-8:] != (1).to_bytes(8, "big")]:
                txn.delete(key)
            index.add(txn, {keys[9]: records[9]}, 1, 5000)
        with opened.begin() as txn:
            assert sorted(index.find(txn, keys)) == sorted([keys[0], keys[1], keys[9]])


def test_many_small_cells_take_little_more_than_their_bytes(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for start in range(0, 40_000, 2000):
            store.put_many(FP, hashed(2000, start))
        assert store.disk_bytes() < 1.2 * 40_000 * (16 + 8 + 20 + 16)


def test_runs_are_removed_oldest_first_and_what_comes_after_is_found(tmp_path: Path, clock: SimpleNamespace) -> None:
    parts = [hashed(2000, 10_000 * i) for i in range(6)]
    with Store(tmp_path) as store, Store(tmp_path) as other:
        for part in parts:
            store.put_many(FP, part)
            clock.now += 10
        assert same_cells(other, parts[0])
        pruned = store.prune(store.disk_bytes() // 2)
        there = [store.lengths(FP, list(part)).count(1) for part in parts]
        assert there in ([0, 0, 0, 0, 2000, 2000], [0, 0, 0, 2000, 2000, 2000])
        assert pruned.entries == 12_000 - sum(there)
        assert [facts["entries"] for facts in store.sizes()] == [sum(there)]
        assert other.get_many(FP, list(parts[0])[:2]) == [None, None]
        assert store.prune(0).entries == sum(there)
        clock.now = 0.0  # set back
        store.put_many(FP, {**parts[0], **parts[5]})
        assert same_cells(store, {**parts[0], **parts[5]})
        assert [facts["entries"] for facts in store.sizes()] == [4000]


@pytest.mark.parametrize("what", ["key", "number"])
def test_a_damaged_run_is_named(tmp_path: Path, what: str) -> None:
    cells = hashed(2000)
    with Store(tmp_path) as store:
        store.put_many(FP, cells)
    data = (tmp_path / "data.mdb").read_bytes()
    place = data.index(sorted(cells)[1000] if what == "key" else cells[sorted(cells)[1000]].tobytes())
    overwrite(tmp_path / "data.mdb", place + 3, b"\xff" if data[place + 3] != 255 else b"\0")
    with Store(tmp_path) as store, pytest.raises(StoreError, match=r"is damaged .*delete"):
        store.get_many(FP, list(cells))


def test_what_is_put_is_what_is_read_warm_and_cold(tmp_path: Path) -> None:
    items = vectors(50) | {b"sequence".ljust(16): np.random.default_rng(1).normal(size=(700, 96)).astype(np.float32)}
    with Store(tmp_path) as store:
        kept = store.put_many(FP, items, "toy")
        cold = store.get_many(FP, list(items))
    with Store(tmp_path) as store:
        warm = store.get_many(FP, list(items))
    for k, a, b in zip(items, cold, warm, strict=True):
        assert a is not None
        assert b is not None
        assert kept[k].dtype == a.dtype == b.dtype == np.float16
        np.testing.assert_array_equal(kept[k], a)
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(b, items[k].astype(np.float16))


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([0.0, 65504.0], np.float16),
        ([0.0, 65520.0], np.float32),  # it would become infinity
        ([1e-6, -2e-6], np.float32),  # it would lose its digits
        ([0.0, 0.0], np.float16),
        ([np.nan, 1.0], np.float32),
        ([np.inf, 1.0], np.float32),
    ],
)
def test_half_precision_only_where_the_numbers_fit(tmp_path: Path, numbers: list[float], dtype: type) -> None:
    array = np.array([numbers], dtype=np.float32)
    with Store(tmp_path) as store:
        store.put_many(FP, {key(1): array})
        (found,) = store.get_many(FP, [key(1)])
    assert found is not None
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


def test_missing_ones_are_none_and_lengths_are_tokens(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many(FP, {key(1): np.ones((3, 4)), key(2): np.ones((0, 4))})
        assert store.lengths(FP, [key(2), key(9), key(1)]) == [0, None, 3]
        two, nine, one = store.get_many(FP, [key(2), key(9), key(1)])
    assert nine is None
    assert two is not None
    assert two.shape == (0, 4)
    assert one is not None
    assert one.shape == (3, 4)


def test_another_encoder_never_sees_these(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many(FP, {key(1): np.ones((1, 4))})
        assert store.get_many(FP + " ", [key(1)]) == [None]


def test_the_first_numbers_stay_and_both_writers_learn_them(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many(FP, {key(1): np.full((1, 2), 1.0)})
        kept = store.put_many(FP, {key(1): np.full((1, 2), 5.0), key(2): np.full((1, 2), 2.0)})
        assert kept[key(1)].tolist() == [[1.0, 1.0]]
        assert kept[key(2)].tolist() == [[2.0, 2.0]]
        (record,) = store.sizes()
        assert record["entries"] == 2  # counted once


def test_a_wrong_shape_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        with pytest.raises(ValueError, match=r"\(T, D\)"):
            store.put_many(FP, {key(1): np.ones((1, 2)), key(2): np.ones(2)})
        assert store.lengths(FP, [key(1)]) == [None]


# Growing, sharing


@pytest.fixture
def tiny_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_environment, "INITIAL_MAP", 1 << 16)


@pytest.mark.usefixtures("tiny_map")
def test_the_map_grows_on_demand(tmp_path: Path) -> None:
    large = {b"large".ljust(16): np.ones((2000, 1024), np.float32)}  # 4 MB at once
    with Store(tmp_path) as store:
        for step in range(10):
            store.put_many(FP, {k + bytes([step]): v for k, v in vectors(40).items()})
        store.put_many(FP, large)
        assert store.sizes()[0]["entries"] == 401
        (found,) = store.get_many(FP, list(large))
        assert found is not None
        assert found.shape == (2000, 1024)


@pytest.mark.usefixtures("tiny_map")
def test_threads_write_and_read_at_once_while_the_map_grows(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def write(seed: int) -> None:
        try:
            with Store(tmp_path) as store:
                for k, v in vectors(60, seed=seed).items():
                    mine = {bytes([seed]) + k[1:]: v}
                    store.put_many(FP, mine)
                    (found,) = store.get_many(FP, list(mine))
                    np.testing.assert_array_equal(found, v.astype(np.float16))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            failed.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


WRITER = """
import sys, numpy as np
from plait.store import environment as store_environment
from plait.store import Store
store_environment.INITIAL_MAP = 1 << 16
folder, seed = sys.argv[1], int(sys.argv[2])
with Store(folder) as store:
    print("ready", flush=True)
    for i in range(0, 400, 8):
        # half of the cells belong to both processes
        keys = [(seed if j % 2 else 9).to_bytes(8, "big") + j.to_bytes(8, "big") for j in range(i, i + 8)]
        store.put_many("shared", {k: np.full((1, 700), k[-1]) for k in keys}, "toy")
        assert None not in store.lengths("shared", keys)
"""


def test_a_store_that_grows_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, tries = lmdb.open, []

    def grown(*told: Any, **options: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise lmdb.MapResizedError("grown by another process")
        return opened(*told, **options)

    monkeypatch.setattr(lmdb, "open", grown)
    with Store(tmp_path / "s") as store:
        assert store.sizes() == []
    assert len(tries) >= 3


def test_two_processes_write_and_grow_at_once(tmp_path: Path) -> None:
    both = [run(WRITER, tmp_path, seed) for seed in (1, 2)]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    with Store(tmp_path) as store:
        (record,) = store.sizes()
        assert record["entries"] == 200 + 200 + 200
        keys = [s.to_bytes(8, "big") + j.to_bytes(8, "big") for j in range(400) for s in ((1, 2) if j % 2 else (9,))]
        for k, found in zip(keys, store.get_many("shared", keys), strict=True):
            assert found is not None
            assert (found == k[-1]).all()


def test_one_folder_may_be_opened_several_times(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    first = Store(tmp_path / "store")
    second = Store(tmp_path / "link")
    first.put_many(FP, {key(1): np.ones((1, 2))})
    first.close()
    first.close()
    assert second.lengths(FP, [key(1)]) == [1]
    second.close()
    with pytest.raises(StoreError, match="closed"):
        second.sizes()


@needs_fork
def test_a_forked_child_goes_on_with_the_same_store(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many(FP, {key(1): np.ones((1, 2))}, "toy")

        def child() -> str:
            store.put_many(FP, {key(2): np.ones((1, 2))})
            return str(store.lengths(FP, [key(1), key(2)]))

        assert in_child(child) == "[1, 1]"
        assert store.lengths(FP, [key(1), key(2), key(3)]) == [1, 1, None]
        store.put_many(FP, {key(3): np.ones((1, 2))})
        assert store.sizes()[0]["entries"] == 3


@needs_fork
def test_forking_while_another_thread_writes(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        stop = threading.Event()

        def write() -> None:
            i = 0
            while not stop.is_set():
                store.put_many(FP, {key(i): np.ones((1, 2))})
                i += 1

        def child() -> str:
            return str(store.put_many("child", {key(1): np.ones((1, 2))})[key(1)].shape)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            said = [in_child(child) for _ in range(4)]
        finally:
            stop.set()
            thread.join()
        assert said == ["(1, 2)"] * 4


def test_another_process_opens_it_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store("here") as store:
        monkeypatch.chdir("/")
        kind, arguments = store.__reduce__()
        with kind(*arguments) as again:
            assert again.path == store.path == tmp_path / "here"


KILLED = """
import sys, numpy as np
from plait.store import Store
store = Store(sys.argv[1])
for i in range(10**9):
    store.put_many("killed", {i.to_bytes(16, "big"): np.full((1, 900), i % 100)}, "toy")
    print(i, flush=True)
"""


def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    process = run(KILLED, tmp_path)
    assert process.stdout is not None
    last = -1
    while last < 25:
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    last = max([last, *map(int, process.stdout.read().split("\n")[:-1])])
    process.wait()
    process.stderr.close()  # type: ignore[union-attr]
    with Store(tmp_path) as store:
        found = store.get_many("killed", [key(i) for i in range(last + 1)])
        assert all(a is not None and (a == i % 100).all() for i, a in enumerate(found))
        store.put_many("killed", {key(10**9): np.ones((1, 2))})
        assert store.sizes()[0]["entries"] in (last + 2, last + 3)  # one may have been stored and not yet printed


# What is wrong with the folder


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    folder = tmp_path / "filled"
    with Store(folder) as store:
        for start in range(0, 300, 50):
            store.put_many(FP, {key(start + i): np.full((1, 1500), start + i) for i in range(50)}, "toy")
    return folder


def overwrite(file: Path, place: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(data)


def use(folder: Path) -> str:
    with Store(folder) as store:
        found = store.get_many(FP, [key(i) for i in range(300)])
        store.put_many(FP, {key(1000): np.ones((1, 2))})
        return f"read {sum(a is not None for a in found)}"


def flip_a_number(data: Path) -> None:
    place = data.read_bytes().index(np.full(1500, 137, np.float16).tobytes())
    overwrite(data, place + 1000, b"\xff")


@needs_fork
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: overwrite(data, 0, b"hello " * 2000),
        lambda data: overwrite(data, 0, bytes(8192)),
        lambda data: overwrite(data, 12288, bytes(data.stat().st_size - 12288)),
        lambda data: os.truncate(data, data.stat().st_size // 2),
        lambda data: os.truncate(data, 5000),
        flip_a_number,
    ],
    ids=["text", "zeros at the start", "zeros after it", "half a file", "hardly a file", "one byte"],
)
def test_a_damaged_file_is_named_with_what_to_do(filled: Path, damage: Callable[[Path], None]) -> None:
    damage(filled / "data.mdb")
    said = in_child(lambda: use(filled))
    assert said.startswith("StoreError: the store in ")
    assert "is damaged" in said
    assert f"delete {filled / 'data.mdb'}" in said
    assert "\n" not in said
    (filled / "data.mdb").unlink()
    assert in_child(lambda: use(filled)) == "read 0"


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as theirs, theirs.begin(write=True) as txn:
        txn.put(b"cat", b"tom")
    with pytest.raises(StoreError, match="not plait's"):
        Store(tmp_path)


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as future, future.begin(write=True) as txn:
        txn.put(b"plait", b"99")
    with pytest.raises(StoreError, match="format b'99'"):
        Store(tmp_path)


@needs_fork
def test_a_full_disk_is_said_and_what_was_stored_stays(filled: Path) -> None:
    size = (filled / "data.mdb").stat().st_size

    def fill() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50_000, size + 50_000))
        with Store(filled) as store:
            for i in range(1000, 3000, 10):
                store.put_many(FP, {key(i + j): np.full((1, 1500), 1.0) for j in range(10)})
        return "it fitted"

    said = in_child(fill)
    assert said.startswith(f"StoreError: the store in {filled} cannot be written")
    assert "disk is full or failing" in said
    assert "PLAIT_STORE" in said
    with Store(filled) as store:
        assert None not in store.lengths(FP, [key(i) for i in range(300)])
        assert all(a is not None for a in store.get_many(FP, [key(i) for i in range(300)]))
        kept = [length is not None for length in store.lengths(FP, [key(i) for i in range(1000, 3000)])]
        whole = [sum(kept[i : i + 10]) for i in range(0, 2000, 10)]
        assert set(whole) <= {0, 10}  # a batch is there or not
        store.put_many(FP, {key(5000): np.ones((1, 2))})


@needs_fork
def test_a_full_disk_does_not_stop_reading(filled: Path) -> None:
    def read() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # not even saying that it was used is possible
        with Store(filled) as store:
            found = store.get_many(FP, [key(i) for i in range(300)])
            again = store.get_many(FP, [key(i) for i in range(300)])
        return f"read {sum(a is not None for a in found + again)}"

    assert in_child(read) == "read 600"


def test_a_disk_without_room_for_the_first_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_environment.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(StoreError, match="cannot be made: No space left on device"):
        Store(tmp_path / "new")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@needs_fork
@pytest.mark.parametrize("existing", [True, False])
def test_a_folder_that_may_not_be_written(open_folder: Path, existing: bool) -> None:
    if existing:
        with Store(open_folder) as store:
            store.put_many(FP, {key(1): np.ones((1, 2))})
        for file in open_folder.iterdir():
            file.chmod(0o444)
    open_folder.chmod(0o555)

    def child() -> str:
        if os.geteuid() == 0:
            os.setuid(65534)
        store = Store(open_folder if existing else open_folder / "new")
        if store.get_many(FP, [key(1)])[0] is None:  # what is there can be read
            return "lost"
        store.put_many(FP, {key(2): np.ones((1, 2))})
        return "written"

    said = in_child(child)
    verb = "written" if existing else "made"
    assert said.startswith(
        f"StoreError: the store in {open_folder if existing else open_folder / 'new'} cannot be {verb}"
    )
    assert "Permission denied; name a folder that you may write to (--store, PLAIT_STORE), or do without" in said


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be made: File exists"):
        Store(tmp_path / "file")
    with pytest.raises(StoreError, match=r"cannot be made: Not a directory; .* \(--store none\)"):
        Store(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match="cannot be made: File name too long"):
        Store(tmp_path / ("x" * 300))


def test_a_store_on_a_disk_that_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(StoreError, match=r"/new cannot be made: Read-only file system; .* \(--store none\)"):
            Store(tmp_path / "new")
    (tmp_path / "there").mkdir()  # and empty
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match="/there cannot be made: Read-only"):
        Store(tmp_path / "there")


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_STORE", str(tmp_path / "told"))
    with Store() as store:
        assert store.path == tmp_path / "told"
    monkeypatch.delenv("PLAIT_STORE")
    monkeypatch.setenv("HOME", str(tmp_path))
    with Store() as store:
        assert store.path == tmp_path / ".cache" / "plait" / "store"


# Pruning


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A time that tests set."""
    told = SimpleNamespace(now=1_000_000.0)
    monkeypatch.setattr("plait.store.time", SimpleNamespace(time=lambda: told.now))
    return told


def count(store: Store, fingerprint: str, n: int = 200) -> int:
    return sum(length is not None for length in store.lengths(fingerprint, [key(i) for i in range(n)]))


def test_prune_takes_the_encoder_that_was_not_used_for_longest(tmp_path: Path, clock: SimpleNamespace) -> None:
    with Store(tmp_path) as store:
        for name in ("old", "used", "new"):
            store.put_many(name, vectors(200), name)
            clock.now += 100_000
    with Store(tmp_path) as store:  # another run reads it
        store.get_many("used", [key(1)])
        assert [r["label"] for r in store.sizes()] == ["used", "new", "old"]
        before = store.disk_bytes()
        said = store.prune(int(before * 0.7))
        assert said.before == before
        assert said.compacted
        assert store.disk_bytes() == said.after <= before * 0.7
        assert (count(store, "old"), count(store, "new"), count(store, "used")) == (200 - said.entries, 200, 200)
        assert 150 <= said.entries <= 200  # as little as needed
        store.prune(int(before * 0.4))
        assert count(store, "old") == 0
        assert 0 < count(store, "new") < 200
        assert count(store, "used") == 200
        assert [r["label"] for r in store.sizes()] == ["used", "new"]
        assert [r["entries"] for r in store.sizes()] == [200, count(store, "new")]


def test_a_clock_that_was_years_ahead_and_is_set_back_hinders_nothing(tmp_path: Path, clock: SimpleNamespace) -> None:
    right, clock.now = clock.now, clock.now + 1e9
    with Store(tmp_path) as store:
        store.put_many(FP, {key(1): np.ones((2, 8), dtype=np.float32)}, "toy")
        clock.now = right
        (array,) = store.get_many(FP, [key(1)])
        assert array is not None
        assert array.shape == (2, 8)
        assert store.sizes()[0]["last_used"] == "1970-01-12T13:46:40+00:00"


def test_reading_moves_the_time_of_use_and_no_count(tmp_path: Path, clock: SimpleNamespace) -> None:
    with Store(tmp_path) as store:
        store.put_many(FP, {key(i): np.ones((2, 8), dtype=np.float32) for i in range(5)}, "toy")
    (before,) = Store(tmp_path).sizes()
    assert (before["entries"], before["bytes"]) == (5, 5 * (20 + 2 * 8 * 2))  # a header and numbers in half precision
    assert before["last_used"] == "1970-01-12T13:46:40+00:00"
    for _ in range(3):
        clock.now += 3599.0
        with Store(tmp_path) as store:
            store.get_many(FP, [key(1), key(99)])
            store.get_many(FP, [key(2)])
    (after,) = Store(tmp_path).sizes()
    assert after == {**before, "last_used": "1970-01-12T16:46:37+00:00"}
    with Store(tmp_path) as store:
        store.get_many("another encoder", [key(1)])
        store.put_many(FP, {key(4): np.ones((2, 8)), key(5): np.ones((1, 8))})  # one is there already
        (both,) = store.sizes()
    assert (both["entries"], both["bytes"]) == (6, before["bytes"] + 20 + 8 * 2)


def test_prune_takes_what_was_stored_first(tmp_path: Path, clock: SimpleNamespace) -> None:
    items = list(vectors(200).items())[::-1]
    with Store(tmp_path) as store:
        for start in range(0, 200, 20):
            store.put_many(FP, dict(items[start : start + 20]))
            clock.now += 10
        store.prune(store.disk_bytes() // 2)
        there = [length is not None for length in store.lengths(FP, [k for k, _ in items])]
    batches = [sum(there[start : start + 20]) for start in range(0, 200, 20)]
    assert 0 < sum(there) < 120
    assert batches == sorted(batches)
    assert len(set(batches) - {0, 20}) <= 1  # of one time only some had to go


def test_prune_to_nothing_and_to_more_than_there_is(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many(FP, vectors(100))
        assert store.prune(10**9).entries == 0
        assert count(store, FP) == 100
        assert store.prune(0).entries == 100
        assert store.sizes() == []
        assert store.disk_bytes() < 50_000
        store.put_many(FP, vectors(10))
        assert count(store, FP) == 10
    with Store(tmp_path) as store:
        assert count(store, FP) == 10


HOLDER = """
import sys
from plait.store import Store
store = Store(sys.argv[1])
print(len(store.sizes()), flush=True)
sys.stdin.readline()
print(store.lengths("held", [bytes(15) + b"\\1"]), flush=True)
"""


def test_prune_while_another_process_has_it_open(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many("held", vectors(200))
        told = [sys.executable, "-c", HOLDER, str(tmp_path)]
        with subprocess.Popen(told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "1\n"
            said = store.prune(0)
            assert not said.compacted
            assert said.after >= said.before
            assert "will be used again" in str(said)
            assert count(store, "held") == 0
            store.put_many("held", {key(1): np.ones((2, 3))})
            assert other.communicate("\n")[0] == "[2]\n"
        assert store.prune(100_000).compacted
        assert store.disk_bytes() < 100_000
        assert store.lengths("held", [key(1)]) == [2]


def test_other_stores_of_this_process_live_through_pruning(tmp_path: Path) -> None:
    with Store(tmp_path) as one, Store(tmp_path) as two:
        one.put_many(FP, vectors(200))
        two.prune(300_000)
        left = count(one, FP)
        assert 0 < left < 200
        one.put_many(FP, {key(1000): np.ones((1, 2))})
        assert two.lengths(FP, [key(1000)]) == [1]


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500_000_000), ("2 GiB", 2 << 30), ("1.5kb", 1500), (" 7 ", 7), ("3 B", 3), (12, 12), ("1tib", 1 << 40)],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "5 XB", "5,5MB", "1e9", "ten"])
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="500MB or 2 GiB"):
        parse_size(text)


def test_sizes_for_people() -> None:
    shown = [show_size(s) for s in (0, 999, 1000, 999_960, 5e9, 7e12, 7e15)]
    assert shown == ["0 B", "999 B", "1.0 kB", "1.0 MB", "5.0 GB", "7.0 TB", "7000.0 TB"]


# Claims


def test_a_claim_excludes_others_until_it_is_given_back(tmp_path: Path) -> None:
    with Store(tmp_path) as store, store.claims(FP) as one, store.claims(FP) as two:
        assert one.take([key(1), key(2)]) == [key(1), key(2)]
        assert two.take([key(1), key(3)]) == [key(3)]
        one.give_back([key(1)])
        assert two.take([key(1), key(2)]) == [key(1)]
        with store.claims("another encoder") as three:
            assert three.take([key(2)]) == [key(2)]


CLAIMER = """
import sys, time
from plait.store import Store
with Store(sys.argv[1]) as store, store.claims("claimed") as claims:
    print(len(claims.take([bytes(15) + b"\\1"])), flush=True)
    time.sleep(60)
"""


def test_a_killed_process_frees_what_it_claimed(tmp_path: Path) -> None:
    process = run(CLAIMER, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    with Store(tmp_path) as store, store.claims("claimed") as claims:
        assert claims.take([key(1), key(2)]) == [key(2)]
        process.kill()
        process.communicate()
        for _ in range(3000):  # the system frees it when it clears the process away
            if claims.take([key(1)]):
                break
            time.sleep(0.02)
        else:
            pytest.fail("still claimed by a dead process")


def test_store_errors_are_plait_errors() -> None:
    assert issubclass(StoreError, PlaitError)  # so the command line prints one line and exits with 2
