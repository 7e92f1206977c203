"""Each distinct cell is encoded once, whatever happens; cold, warm and unstored runs give the same numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from plait.base import machine
from plait.base.encoder import Encoder
from plait.base.errors import CellError, PlaitError, PlaitWarning, StoreError, TableError
from plait.base.tokens import Tokens
from plait.data.media import Blob
from plait.data.media.given import cell_key
from plait.data.modality import Modality, Schema
from plait.encoders import batches as embedding_batches
from plait.encoders import featurize
from plait.encoders.embed import Column, Embedded, embed, embed_pieces, embed_rows, prepare_distinct
from plait.store import Store
from plait.store.environment import Claims


@dataclasses.dataclass(eq=False)
class Toy(Encoder):
    """The cell "7 3" becomes three tokens (7 * scale, token number); "broken" cannot be read; "nan" gives NaN.

    Every encoded cell is a line in the file that TOY_LOG names; TOY_SLOW is the seconds that a batch takes, TOY_HOLD
    (``16:path``) lets it wait after 16 cells for another process that writes the file ``path``.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    batch_size: ClassVar[int] = 4
    modules: ClassVar[int] = 0
    prepared: ClassVar[list[list[Any]]] = []
    scale: float = 1.0

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        type(self).prepared.append(list(cells))
        if any(cell == "broken" for cell in cells):
            raise CellError("it is broken")
        words = [(cell if isinstance(cell, str) else cell.open().read().decode()).split() for cell in cells]
        return {
            "value": np.array([float(word[0]) for word in words], np.float32),
            "tokens": np.array([int(word[1]) if len(word) > 1 else 1 for word in words]),
        }

    def module(self) -> nn.Module:
        type(self).modules += 1
        return ToyModule(self.scale)

    @property
    def dim(self) -> int:
        return 2

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        return (
            self.prepare(cells)["tokens"] if all(isinstance(cell, str) for cell in cells) else np.zeros(len(cells), int)
        )


def lines_of(path: str | Path) -> int:
    return Path(path).read_text().count("\n") if Path(path).exists() else 0


class ToyModule(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.dropout = nn.Dropout(0.9)  # shows when it is left in training mode

    def forward(self, arrays: dict[str, Tensor]) -> Tokens:
        if os.environ.get("TOY_LOG"):
            with open(os.environ["TOY_LOG"], "a") as log:
                log.write("".join(f"{value:.0f}\n" for value in arrays["value"].tolist()))
        time.sleep(float(os.environ.get("TOY_SLOW", "0")))
        if os.environ.get("TOY_GATE"):  # from so many cells of our own on: go on once there are as many in that file
            count, _, path = os.environ["TOY_GATE"].partition(" ")
            while lines_of(os.environ["TOY_LOG"]) >= int(count) > lines_of(path):
                time.sleep(0.01)
        token = torch.arange(int(arrays["tokens"].max()))  # (T,)
        value = (arrays["value"] * self.scale)[:, None].expand(-1, len(token))
        x = self.dropout(torch.stack([value, token.float().expand_as(value)], -1))  # (B, T, 2)
        return Tokens(x, token[None] < arrays["tokens"][:, None])


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding_batches.let_go()
    monkeypatch.setattr(Toy, "modules", 0)
    monkeypatch.setattr(Toy, "prepared", [])
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def encoded(tmp_path: Path) -> Counter[int]:
    """How often each value was encoded."""
    log = tmp_path / "log"
    return Counter(map(int, log.read_text().split())) if log.exists() else Counter()


def numbers(n: int, first: int = 0) -> list[str]:
    return [str(i) for i in range(first, first + n)]


def same(a: Embedded, b: Embedded) -> None:
    np.testing.assert_array_equal(a.x, b.x)
    np.testing.assert_array_equal(a.mask, b.mask)
    assert a.unreadable == b.unreadable


@pytest.mark.parametrize(
    ("cheap", "after", "stored", "claims"), [(1e9, 1e9, 1, 5), (0.0, 1e9, 1, 17), (0.0, 0.0, 17, 17)]
)
def test_cells_are_stored_every_so_often_and_cheap_ones_are_not_claimed(
    cheap: float, after: float, stored: int, claims: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    claimed: list[int] = []
    put, take = Store.put_many, Claims.take

    def counted(self: Store, fingerprint: str, items: Any, label: str = "") -> Any:
        commits.append(len(items))
        return put(self, fingerprint, items, label)

    def counted_claims(self: Claims, keys: Any) -> Any:
        claimed.append(len(keys))
        return take(self, keys)

    monkeypatch.setattr(Store, "put_many", counted)
    monkeypatch.setattr(Claims, "take", counted_claims)
    monkeypatch.setattr(Toy, "batch_size", 64)
    for name, value in {"TRIED": 128, "STORED_AFTER": after, "CHEAP": cheap}.items():
        monkeypatch.setattr(embedding_batches, name, value)
    found = embed(Toy(), numbers(1000), store, name="text")
    assert found.x[:, 0, 0].tolist() == [float(i) for i in range(1000)]
    assert sum(commits) == 1000
    assert (len(commits), len(claimed)) == (stored, claims)


@pytest.mark.parametrize("kind", ["text", "vector"])
def test_many_rows_are_embedded_piece_by_piece_to_the_same_numbers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    cells = [f"{i} {1 + i // 20}" if i % 7 else None for i in range(60)]
    if kind == "vector":
        cells = [rng.normal(size=3).astype(np.float32) if i % 7 else None for i in range(60)]  # type: ignore[misc]
    frame = pd.DataFrame({"a": pd.Series(cells, dtype=object)})
    schema = Schema((Modality("a", kind, ("a",)),))
    results = []
    for rows in (1000, 16):
        monkeypatch.setattr(featurize, "ROWS", rows)
        features = featurize.Featurizer(schema, {"a": Toy()} if kind == "text" else None)
        features.fit(frame, None)
        with Store(tmp_path / f"store{rows}") as store:
            results.append(features.transform(frame, None, store, strict=False, progress=False).tokens["a"])
    assert torch.equal(results[0].x, results[1].x)
    assert torch.equal(results[0].mask, results[1].mask)
    assert results[0].x.shape[1] == (3 if kind == "text" else 1)


# Keys


def picture(mode: str = "RGB", size: tuple[int, int] = (2, 3)) -> Image.Image:
    return Image.new(mode, size)


def test_files_that_are_not_there_are_refused_before_anything_is_encoded(store: Store, tmp_path: Path) -> None:
    schema = Schema((Modality("a", "text", ("a",)), Modality("b", "image", ("b",))))
    frame = pd.DataFrame({"a": numbers(3), "b": ["1.png", "2.png", "3.png"]})
    features = featurize.Featurizer(schema, {"a": Toy()})
    modules = Toy.modules
    with pytest.raises(TableError, match="none of its 3 files is there"):
        features.transform(frame, str(tmp_path), store, strict=False, progress=False)
    assert Toy.modules == modules


def test_cells_of_different_type_shape_or_dtype_never_share_a_key() -> None:
    zeros = np.zeros(4, np.uint8)
    palette = picture("P")
    palette.putpalette([9] * 768)
    cells = [
        "", "a", "1", b"", b"a", b"1", 1, 1.0, True, "True", Blob.of_bytes(b"a"), Blob.of_bytes(b""),
        zeros, zeros.reshape(2, 2), zeros.reshape(1, 4), zeros.astype(np.int8), zeros.view("<f4"), zeros.view(">f4"),
        zeros.tobytes(), np.zeros(0), np.zeros((0, 3)), (zeros, 16000), (zeros, 8000), (zeros,), ((zeros,), 16000),
        picture(), picture(size=(3, 2)), picture("L"), picture("P"), palette, picture("1"), np.asarray(picture()),
        ("ab", "c"), ("a", "bc"), np.array(["a"]), "é", "e\u0301", "\udc80",
    ]  # fmt: skip
    keys = [cell_key(cell) for cell in cells]
    assert {len(key) for key in keys} == {16}
    assert len(set(keys)) == len(cells)


def test_equal_cells_have_equal_keys(tmp_path: Path) -> None:
    grid = np.arange(12.0).reshape(3, 4)
    assert cell_key(grid.T) == cell_key(np.ascontiguousarray(grid.T))
    assert cell_key((grid[::2], 8000)) == cell_key((grid[::2].copy(), 8000))
    assert cell_key(picture()) == cell_key(picture())
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").write_bytes(b"content")
    files = [cell_key(Blob.of_file(tmp_path / name)) for name in "ab"]
    assert files[0] == files[1] == cell_key(Blob.of_bytes(b"content"))


@pytest.mark.parametrize(
    "cell", [object(), {"a": 1}, np.array([object()]), np.ma.masked_array([1.0, 2.0]), Path("x"), ("a", object())]
)
def test_what_has_no_content_has_no_key(cell: Any) -> None:
    with pytest.raises(CellError, match="cannot be used"):
        cell_key(cell)


# What comes out


def test_absent_equal_and_long_cells(store: Store, tmp_path: Path) -> None:
    found = embed(Toy(), ["5", None, "7 3", "5", "5 1"], store, name="text")
    assert found.x.dtype == np.float32
    assert found.mask.tolist() == [
        [True, False, False],
        [False] * 3,
        [True] * 3,
        [True, False, False],
        [True, False, False],
    ]
    assert found.x[..., 0].tolist() == [[5, 0, 0], [0, 0, 0], [7, 7, 7], [5, 0, 0], [5, 0, 0]]
    assert found.x[2, :, 1].tolist() == [0, 1, 2]
    assert encoded(tmp_path) == {7: 1, 5: 2}  # "5" and "5 1" are not the same cell
    tokens = found.tokens()
    assert tokens.present.tolist() == [True, False, True, True, True]


@pytest.mark.parametrize("stored", [True, False])
def test_no_cells_and_only_absent_cells(store: Store, stored: bool) -> None:
    told = store if stored else None
    for cells in ([], [None, None]):
        found = embed(Toy(), cells, told, name="text")
        assert found.x.shape == (len(cells), 1, 2)
        assert not found.mask.any()
    assert Toy.modules == 0


def test_cold_warm_and_unstored_runs_give_the_same_numbers(store: Store) -> None:
    cells = ["0.1", "123.456 2", "70000", "-0.333 5", None, "1e-9"]
    cold = embed(Toy(), cells, store, name="text")
    warm = embed(Toy(), cells, store, name="text")
    without = embed(Toy(), cells, None, name="text")
    same(cold, warm)
    same(cold, without)
    assert cold.x[0, 0, 0] == np.float16(0.1)
    assert cold.x[2, 0, 0] == 70000.0  # too large for half precision
    assert cold.x[5, 0, 0] == np.float32(1e-9)  # too small


def test_a_warm_run_neither_prepares_nor_loads(store: Store) -> None:
    cells = ["3", "4 2", None, "3"]
    embed(Toy(), cells, store, name="text")
    assert Toy.modules == 1
    Toy.prepared.clear()
    embed(Toy(), cells, store, name="text")
    assert Toy.modules == 1
    assert Toy.prepared == []


def test_a_table_that_grows_costs_what_is_new(store: Store, tmp_path: Path) -> None:
    embed(Toy(), numbers(10), store, name="text")
    embed(Toy(), numbers(13), store, name="text")
    assert encoded(tmp_path) == dict.fromkeys(range(13), 1)


def test_the_longest_come_first_and_batches_are_full(store: Store) -> None:
    cells = [f"{i} {1 + i % 5}" for i in range(10)]
    embed(Toy(), cells, store, name="text")
    batches = Toy.prepared[1:]  # the first was asked for the lengths
    assert [len(batch) for batch in batches] == [4, 4, 2]
    lengths = [int(cell.split()[1]) for batch in batches for cell in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_progress_weighs_the_cells_by_their_lengths(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    advanced: list[tuple[int, float]] = []
    monkeypatch.setattr("plait.base.progress.Bar.advance", lambda self, n=1, share=None: advanced.append((n, share)))
    embed(Toy(), [f"{i} {tokens}" for i, tokens in enumerate((1, 2, 1, 9, 8, 9, 1, 9))], store, name="text")
    assert [n for n, _ in advanced if n] == [4, 4]
    assert [share for n, share in advanced if n] == pytest.approx([35 / 40, 5 / 40])


def test_long_cells_are_encoded_fewer_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "batch_length", 18)
    advanced: list[int] = []
    monkeypatch.setattr("plait.base.progress.Bar.advance", lambda self, n=1, share=None: advanced.append(n))
    cells = [f"{i} {tokens}" for i, tokens in enumerate((1, 2, 1, 9, 30, 9, 1, 9))]
    embed(Toy(), cells, store, name="text")
    assert [n for n in advanced if n] == [1, 2, 4, 1]  # 30; 9 and 9; 9, 2, 1 and 1; 1


def test_an_encoder_that_is_not_stored_bypasses_the_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "stored", False)
    for _ in range(2):
        found = embed(Toy(), ["0.1", "0.1"], store, name="text")
    assert found.x[0, 0, 0] == np.float32(0.1)  # no rounding either
    assert encoded(tmp_path) == {0: 2}
    assert store.sizes() == []


# Never stale


def test_another_option_version_or_fitted_state_is_another_encoder(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def value() -> float:
        return float(embed(Toy(), ["6"], store, name="text").x[0, 0, 0])

    assert value() == 6.0
    assert embed(Toy(scale=2.0), ["6"], store, name="text").x[0, 0, 0] == 12.0
    monkeypatch.setattr(
        ToyModule, "forward", lambda self, arrays: Tokens(torch.full((1, 1, 2), 9.0), torch.ones(1, 1) > 0)
    )
    assert value() == 6.0  # stored
    monkeypatch.setattr(Toy, "version", 2)
    assert value() == 9.0
    monkeypatch.setattr(Toy, "state", lambda self: {"mean": np.ones(2)})
    monkeypatch.setattr(
        ToyModule, "forward", lambda self, arrays: Tokens(torch.full((1, 1, 2), 8.0), torch.ones(1, 1) > 0)
    )
    assert value() == 8.0
    monkeypatch.setattr(Toy, "weights_id", lambda self: "other weights")
    monkeypatch.setattr(
        ToyModule, "forward", lambda self, arrays: Tokens(torch.full((1, 1, 2), 7.0), torch.ones(1, 1) > 0)
    )
    assert value() == 7.0


def test_a_changed_file_is_encoded_again_even_with_the_old_time_and_size(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "cell"
    file.write_text("41")
    old = file.stat()
    assert embed(Toy(), [Blob.of_file(file)], store, name="file").x[0, 0, 0] == 41
    file.write_text("43")
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert embed(Toy(), [Blob.of_file(file)], store, name="file").x[0, 0, 0] == 43


def test_a_file_that_changes_while_it_is_read_is_not_stored(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cell"
    file.write_text("41")
    prepare = Toy.prepare

    def late(self: Toy, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        file.write_text("43")
        return prepare(self, cells)

    monkeypatch.setattr(Toy, "prepare", late)
    with pytest.warns(PlaitWarning, match="changed while it was read"):
        assert not embed(Toy(), [Blob.of_file(file)], store, name="file").mask.any()
    monkeypatch.setattr(Toy, "prepare", prepare)
    file.write_text("41")
    assert embed(Toy(), [Blob.of_file(file)], store, name="file").x[0, 0, 0] == 41


# Broken cells


def test_broken_cells_are_absent_and_counted_in_one_warning(store: Store, tmp_path: Path) -> None:
    cells = [*numbers(9), None, "broken", "11", object(), "broken", Blob.of_file(tmp_path / "none")]
    for told in (store, None):
        with pytest.warns(PlaitWarning) as warned:
            found = embed(Toy(), cells, told, name="image")
        assert len(warned) == 1
        assert str(warned[0].message) == (
            "4 of 14 cells of 'image' cannot be read and count as absent, e.g. row 10: it is broken"
        )
        assert warned[0].filename == __file__
        assert [row for row, _ in found.unreadable] == [10, 12, 13, 14]
        assert "no such file" in found.unreadable[3][1]
        assert found.mask[:, 0].tolist() == [True] * 9 + [False, False, True, False, False, False]
        assert found.x[11, 0, 0] == 11


def test_a_warm_run_with_broken_cells_loads_nothing(store: Store) -> None:
    for _ in range(2):
        with pytest.warns(PlaitWarning, match="1 of 2 cells"):
            embed(Toy(), ["1", "broken"], store, name="text")
    assert Toy.modules == 1


def test_strict_names_the_row_and_keeps_what_was_encoded(store: Store, tmp_path: Path) -> None:
    cells = [*(f"{i} 2" for i in range(8)), "9", "broken", "broken"]
    with pytest.raises(CellError, match=r"^row 9 of 'text': it is broken$"):
        embed(Toy(), cells, store, name="text", strict=True)
    embed(Toy(), cells[:8], store, name="text")
    assert encoded(tmp_path) == dict.fromkeys([*range(8), 9], 1)
    with pytest.raises(CellError, match="row 1 of 'text': a cell of type dict"):
        embed(Toy(), ["1", {}], store, name="text", strict=True)


def test_numbers_that_are_not_finite_make_a_cell_unreadable_cold_and_warm(store: Store) -> None:
    for _ in range(2):
        with pytest.warns(PlaitWarning, match="2 of 4 cells of 'text'.*row 1: .*not finite"):
            found = embed(Toy(), ["1", "nan", "inf 2", "4"], store, name="text")
        assert found.mask[:, 0].tolist() == [True, False, False, True]
        assert np.isfinite(found.x).all()
    assert Toy.modules == 1
    with pytest.raises(CellError, match=r"row 1 of 'text'.*not finite"):
        embed(Toy(), ["1", "nan"], store, name="text", strict=True)


def test_another_error_of_an_encoder_is_not_swallowed(store: Store) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        embed(Toy(), ["1", "x"], store, name="text")


# Interrupted, shared


def test_ctrl_c_keeps_the_finished_batches(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, calls = ToyModule.forward, []

    def interrupted(self: ToyModule, arrays: dict[str, Tensor]) -> Tokens:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(self, arrays)

    monkeypatch.setattr(ToyModule, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed(Toy(), numbers(40), store, name="text")
    assert not [t for t in threading.enumerate() if t.name.startswith("plait-prepare")]
    assert store.sizes()[0]["entries"] == 8
    embed(Toy(), numbers(40), store, name="text")  # nothing is claimed any longer, or this would wait
    assert encoded(tmp_path) == dict.fromkeys(range(40), 1)


ENCODE = """
import sys
sys.path.insert(0, sys.argv[1])
from test_embedding import Toy, embed, embedding_batches, numbers
from plait.store import Store
from plait.store.environment import Claims
embedding_batches.STORED_AFTER = 0.0
with Store(sys.argv[2]) as store:
    embed(Toy(), numbers(int(sys.argv[3])), store, name="text")
"""


def started(store: Store, n: int, log: Path, gate: Path) -> subprocess.Popen[bytes]:
    """Another process that has encoded 24 cells; it encodes the others once there are 24 in the file ``gate``."""
    told = [sys.executable, "-c", ENCODE, str(Path(__file__).parent), str(store.path), str(n)]
    process = subprocess.Popen(told, env={**os.environ, "TOY_LOG": str(log), "TOY_GATE": f"24 {gate}"})
    while lines_of(log) < 24 and process.poll() is None:
        time.sleep(0.01)
    assert lines_of(log) >= 24
    return process


def test_killed_half_way_and_started_again_it_continues(store: Store, tmp_path: Path) -> None:
    process = started(store, 200, tmp_path / "log", tmp_path / "never")
    process.kill()
    process.wait()
    done = encoded(tmp_path)
    assert 20 <= sum(done.values()) < 200
    found = embed(Toy(), numbers(200), store, name="text")
    assert found.x[:, 0, 0].tolist() == list(range(200))
    twice = [value for value, times in encoded(tmp_path).items() if times > 1]
    assert len(twice) <= Toy.batch_size  # the batch in flight
    assert set(encoded(tmp_path)) == set(range(200))
    assert max(encoded(tmp_path).values()) <= 2


def test_two_processes_share_the_work(store: Store, tmp_path: Path) -> None:
    process = started(store, 160, tmp_path / "other", tmp_path / "log")
    found = embed(Toy(), numbers(160), store, name="text")
    assert process.wait(60) == 0
    assert found.x[:, 0, 0].tolist() == list(range(160))
    ours = encoded(tmp_path)
    theirs = Counter(map(int, (tmp_path / "other").read_text().split()))
    assert ours + theirs == dict.fromkeys(range(160), 1)  # nothing was done twice
    assert len(ours) >= 16  # and not all by one of them
    assert len(theirs) >= 16


class Beside(Toy):
    """Two batches wait for each other: alone neither ends."""

    side_by_side = True
    meeting: ClassVar[threading.Barrier]
    cores: ClassVar[set[int]]

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        if "meet" in str(cells) and threading.current_thread() is not threading.main_thread():
            type(self).cores.add(torch.get_num_threads())
            type(self).meeting.wait(timeout=30)
        return super().prepare([cell.removeprefix("meet ") if isinstance(cell, str) else cell for cell in cells])


def test_batches_are_computed_side_by_side_on_one_core_each(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cores, cells = torch.get_num_threads(), [f"meet {number} 1" for number in range(12)]
    monkeypatch.setattr(Beside, "meeting", threading.Barrier(2), raising=False)
    monkeypatch.setattr(Beside, "cores", set(), raising=False)
    torch.set_num_threads(2)
    try:
        many = embed(Beside(), cells, store, name="x", progress=False)  # three batches: the first alone, then two
        assert Beside.cores == {1}
        assert torch.get_num_threads() == 2
        with pytest.raises(CellError, match="row 7"):
            embed(Beside(scale=2.0), [*map(str, range(7)), "broken"], store, name="x", progress=False, strict=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(cores)
    alone = embed(Toy(), [cell.removeprefix("meet ") for cell in cells], None, name="x", progress=False)
    assert many.x.tobytes() == alone.x.tobytes()


def test_weights_are_loaded_once_and_few_cells_leave_the_threads_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[threading.Thread] = []

    class Built(Toy):
        side_by_side = True

        def lengths(self, cells: Sequence[Any]) -> np.ndarray:
            return np.array([9 if "broken" in cell else 1 for cell in cells])

        def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
            return super().prepare([cell.split(" at ")[0] for cell in cells])

        def module(self) -> nn.Module:
            built.append(threading.current_thread())
            return super().module()

    cores = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.warns(PlaitWarning, match="cannot be read"):
            embed(Built(), [*(f"broken at {i}" for i in range(9)), *numbers(40)], store, name="x", progress=False)
        assert built == [threading.main_thread()]
        monkeypatch.delattr(embedding_batches, "one_core_each")
        embed(Built(scale=3.0), ["5"], store, name="x", progress=False)
    finally:
        torch.set_num_threads(cores)


def test_a_second_interrupt_leaves_the_threads_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    def shutdown(*args: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "ThreadPoolExecutor", lambda *args, **how: SimpleNamespace(shutdown=shutdown))
    cores = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt), machine.one_core_each(2):
            raise KeyboardInterrupt
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(cores)


def test_threads_of_one_process_share_the_work(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_SLOW", "0.005")
    results: list[Embedded] = []

    def work() -> None:
        results.append(embed(Toy(), numbers(60), store, name="text"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert encoded(tmp_path) == dict.fromkeys(range(60), 1)
    assert len(results) == 3
    same(results[0], results[1])
    same(results[0], results[2])


def test_nobody_waits_for_ever_for_a_process_that_hangs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_batches, "PATIENCE", 0.1)
    with store.claims(Toy().fingerprint()) as hanging:
        assert hanging.take([cell_key("2")]) == [cell_key("2")]
        found = embed(Toy(), numbers(6), store, name="text")
    assert found.x[:, 0, 0].tolist() == list(range(6))


def test_what_is_pruned_meanwhile_is_encoded_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put, pruned = Store.put_many, []

    def prune_once(self: Store, *arguments: Any) -> Any:
        kept = put(self, *arguments)
        if not pruned:
            pruned.append(self.prune(0))
        return kept

    monkeypatch.setattr(Store, "put_many", prune_once)
    found = embed(Toy(), numbers(10), store, name="text")
    assert found.x[:, 0, 0].tolist() == list(range(10))


def test_a_store_that_loses_everything_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "put_many", lambda *_: {})
    with pytest.raises(StoreError, match="vanish"):
        embed(Toy(), numbers(3), store, name="text")


# Rows of a table


class ToyRows(Toy):
    def prepare(self, cells: Any) -> dict[str, np.ndarray]:
        return {"value": cells["a"].to_numpy(np.float32), "tokens": np.ones(len(cells), int)}


def test_rows_are_encoded_without_a_store(store: Store) -> None:
    found, columns = embed_rows(ToyRows(), pd.DataFrame({"a": [1.0, 2.5]}, index=[7, 9]))
    assert columns is None
    assert found.x[:, 0, 0].tolist() == [1.0, 2.5]
    assert found.mask.all()
    assert embed_rows(ToyRows(), pd.DataFrame({"a": []}))[0].x.shape == (0, 1, 2)
    with pytest.raises(PlaitError, match="not finite, first in row 1"):
        embed_rows(ToyRows(), pd.DataFrame({"a": [1.0, np.nan]}))


# Prepared arrays


class Bytes(Toy):
    """Arrays of several types and shapes."""

    trainable = True

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        type(self).prepared.append(list(cells))
        if "broken" in cells:
            raise CellError("it is broken")
        longest = max(map(len, cells))
        ids = np.array([[ord(c) for c in cell.ljust(longest, "\0")] for cell in cells])
        return {
            "ids": ids,
            "mask": ids > 0,
            "pixels": np.full((len(cells), 2, 3), 200, np.uint8),
            "n": (ids > 0).sum(1),
        }

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        return np.array([len(cell) for cell in cells])


@pytest.mark.parametrize("stored", [True, False])
def test_prepared_arrays_are_kept_too(store: Store, stored: bool) -> None:
    told = store if stored else None
    cells = ["ab", None, "abcd", "broken", "x", "ab", "yz", "q"]
    for turn in range(2):
        Bytes.prepared.clear()
        with pytest.warns(PlaitWarning, match="1 of 7 cells of 'text'.*row 3: it is broken"):
            distinct, place = prepare_distinct(Bytes(), cells, told, name="text")
        assert {len(array) for array in distinct.values()} == {6}  # five cells and the absent one
        arrays, present = {key: array[place] for key, array in distinct.items()}, place < 5
        assert present.tolist() == [True, False, True, False, True, True, True, True]
        assert {key: array.dtype for key, array in arrays.items()} == {
            "ids": np.dtype(np.int64), "mask": np.dtype(bool), "pixels": np.dtype(np.uint8), "n": np.dtype(np.int64)
        }  # fmt: skip
        assert arrays["ids"].shape == (8, 4)
        assert arrays["ids"][5].tolist() == [97, 98, 0, 0]
        assert arrays["mask"].sum(1).tolist() == arrays["n"].tolist() == [2, 0, 4, 0, 1, 2, 2, 1]
        assert (arrays["pixels"][present] == 200).all()
        assert (arrays["pixels"][~present] == 0).all()
        if stored and turn:
            assert Bytes.prepared == [["broken"]]
    assert Toy.modules == Bytes.modules == 0
    assert [r["label"] for r in store.sizes()] == (["test_embedding, prepared"] if stored else [])


def test_prepared_arrays_of_nothing_and_strictly(store: Store) -> None:
    arrays, place = prepare_distinct(Bytes(), [None, None], store, name="text")
    assert arrays == {}
    assert place.tolist() == [0, 0]
    with pytest.raises(CellError, match="row 1 of 'text': it is broken"):
        prepare_distinct(Bytes(), ["a", "broken"], store, name="text", strict=True)


def test_prepared_and_embedded_do_not_meet(store: Store) -> None:
    prepare_distinct(Toy(), ["3"], store, name="text")
    assert embed(Toy(), ["3"], store, name="text").x.tolist() == [[[3.0, 0.0]]]


def test_a_network_stays_at_hand_after_few_cells_and_only_then() -> None:
    def built(cells: Sequence[str], scale: float) -> int:
        before = Toy.modules
        embed(Toy(scale=scale), cells, None, name="text")
        return Toy.modules - before

    many = [f"{i} 1" for i in range(embedding_batches.FEW + 1)]
    assert [built(["1 1", "2 1"], 17.0), built(["3 1"], 17.0), built(["1 1"], 18.0)] == [1, 0, 1]
    assert [built(many, 17.0), built(["1 1"], 17.0)] == [0, 1]  # after many it goes
    other = embed(Toy(scale=18.0), ["4 1"], None, name="text")
    assert other.x[0, 0, 0] == pytest.approx(4 * 18.0)


class Heavy(Toy):
    """Its key is of many bytes, as that of weights in files is."""

    def store_key(self) -> str:
        return hashlib.sha256(bytes(3_000_000)).hexdigest()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_while_another_thread_takes_a_network_that_is_at_hand() -> None:
    stop = threading.Event()

    def encode() -> None:
        while not stop.is_set():
            embed(Heavy(), ["1 1"], None, name="text")

    def child() -> int:
        process = os.fork()
        if process == 0:
            signal.alarm(10)  # it would wait for ever for what a thread that it has not held
            embed(Heavy(), ["1 1"], None, name="text")
            os._exit(0)
        return os.waitpid(process, 0)[1]

    thread = threading.Thread(target=encode)
    thread.start()
    try:
        assert [child() for _ in range(6)] == [0] * 6
    finally:
        stop.set()
        thread.join()


def test_networks_at_hand_are_few_and_small_and_of_one_class_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def built(encoder: Toy) -> bool:
        before = Toy.modules
        embed(encoder, ["1 1"], None, name="text")
        return Toy.modules > before

    class Again(Toy):
        @classmethod
        def name(cls) -> str:
            return Toy.name()

        def module(self) -> nn.Module:
            Toy.modules += 1
            return ToyModule(self.scale)

    assert Again(scale=3.0).fingerprint() == Toy(scale=3.0).fingerprint()
    assert [built(Toy(scale=3.0)), built(Again(scale=3.0)), built(Toy(scale=3.0))] == [True, True, False]
    if hasattr(os, "fork"):
        child = os.fork()
        if not child:
            os._exit(0 if built(Toy(scale=3.0)) else 1)
        assert os.waitpid(child, 0)[1] == 0
    embedding_batches.let_go()
    monkeypatch.setattr(embedding_batches, "AT_HAND_BYTES", 8)  # two weights of four bytes
    assert [built(Toy(scale=s)) for s in (1.0, 2.0, 3.0)] == [True] * 3
    assert [built(Toy(scale=s)) for s in (2.0, 3.0, 1.0)] == [False, False, True]


class Widening(Toy):
    def module(self) -> nn.Module:
        return WideningModule(self.scale)


class WideningModule(ToyModule):
    def forward(self, arrays: dict[str, Tensor]) -> Tokens:
        tokens = super().forward(arrays)
        return Tokens(torch.cat([tokens.x] * (2 if arrays["value"].max() > 50 else 1), 2), tokens.mask)


@pytest.mark.parametrize("second", ["60 1", "60 3"])
def test_pieces_of_two_widths_are_refused(second: str) -> None:
    whole = Column([], name="text", rows=np.arange(2))
    with pytest.raises(PlaitError, match="'text': .* gives widths 2 and 4"):
        embed_pieces(Widening(), [["1 1"], [second]], None, whole)
