"""Weights kept in the store: made once for all processes, and never served when they are broken or of something else."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import numpy as safetensors

from plait.base.errors import PlaitWarning, StoreError
from plait.store import Memory, Store
from plait.training import checkpoint
from plait.training import finetuning as tunings
from plait.training.checkpoint import Trained, found_or_made
from plait.training.settings import Tuning

NAME, KEY = "tests", b"k" * 16


class Made:
    """Counts what is made; the number made last is in the weights."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Trained:
        self.count += 1
        return Trained({"w": np.full(2, self.count, np.float32)}, {"epochs": [self.count]})


def get(keep: Any, make: Any, key: bytes = KEY, fits: Any = lambda found: True) -> tuple[float, bool]:
    found, stored = found_or_made(keep, NAME, key, make, fits, "tests, trained")
    assert found.about["epochs"] == [int(found.weights["w"][0])]
    return float(found.weights["w"][0]), stored


def test_what_is_kept_is_made_once_and_survives(tmp_path: Path) -> None:
    make = Made()
    with Store(tmp_path) as store:
        assert get(store, make) == (1.0, False)
        assert get(store, make) == (1.0, True)
        assert get(store, make, b"o" * 16) == (2.0, False)
    with Store(tmp_path) as store:
        assert get(store, make) == (1.0, True)
        assert [found["label"] for found in store.sizes()] == ["tests, trained"]


def other_key() -> bytes:
    about = np.frombuffer(b'{"key": "00", "epochs": [7]}', np.uint8)
    return safetensors.save({"weights.w": np.full(2, 7, np.float32), "about": about})


@pytest.mark.parametrize(
    "broken", [b"\0" * 60, other_key(), safetensors.save({"weights.w": np.zeros(2)}), other_key()[:-9]]
)
def test_what_is_broken_or_of_another_key_is_passed_over(tmp_path: Path, broken: bytes) -> None:
    make, place = Made(), blake2b(KEY + bytes([0]), digest_size=16).digest()
    with Store(tmp_path) as store:
        store.put_many(NAME, {place: np.frombuffer(broken, np.uint8)[None]}, "broken")
        assert get(store, make) == (1.0, False)
        assert get(store, make) == (1.0, True), "what was made anew is kept beside the broken one"


def test_a_record_whose_checksum_is_wrong_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, first = Made(), blake2b(KEY + bytes([0]), digest_size=16).digest()
    with Store(tmp_path) as store:
        get(store, make)
        real = store.get_many

        def refusing(fingerprint: str, keys: Any) -> Any:
            if first in keys:
                raise StoreError("a record is damaged")
            return real(fingerprint, keys)

        monkeypatch.setattr(store, "get_many", refusing)
        assert get(store, make) == (2.0, False)
        assert get(store, make) == (2.0, True)


def test_when_every_place_is_broken_it_is_made_and_not_kept(tmp_path: Path) -> None:
    make = Made()
    with Store(tmp_path) as store:
        for number in range(checkpoint._PLACES):
            place = blake2b(KEY + bytes([number]), digest_size=16).digest()
            store.put_many(NAME, {place: np.zeros((1, 30), np.uint8)}, "broken")
        assert [get(store, make) for _ in range(2)] == [(1.0, False), (2.0, False)]


def test_what_does_not_fit_is_made_anew(tmp_path: Path) -> None:
    make = Made()
    with Store(tmp_path) as store:
        get(store, make)
        assert get(store, make, fits=lambda found: found.weights["w"][0] == 2) == (2.0, False)
        assert get(store, make, fits=lambda found: found.weights["w"][0] == 2) == (2.0, True)


def test_a_store_that_takes_nothing_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*told: Any) -> Any:
        raise StoreError("no space left")

    with Store(tmp_path) as store:
        monkeypatch.setattr(store, "put_many", full)
        with pytest.warns(PlaitWarning, match=r"trained weights \(tests, trained\) were not kept: no space left"):
            assert get(store, Made()) == (1.0, False)


SLOW = """
import sys, time, numpy as np
from pathlib import Path
from plait.training.checkpoint import Trained, found_or_made
from plait.store import Store

place = Path(sys.argv[1])

def make():
    (place / "begun").touch()
    while not (place / "go").exists():
        time.sleep(0.01)
    return Trained({"w": np.full(2, 5, np.float32)}, {"epochs": [5]})

with Store(place) as store:
    found_or_made(store, "tests", b"k" * 16, make, lambda found: True, "tests, trained")
"""


def begun(place: Path, process: subprocess.Popen[bytes]) -> None:
    while not (place / "begun").exists():
        assert process.poll() is None, "the other process ended before it made anything"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is claimed on Windows")
def test_another_process_that_makes_it_is_waited_for(tmp_path: Path) -> None:
    make = Made()
    with subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)]) as process:
        begun(tmp_path, process)
        threading.Timer(0.05, (tmp_path / "go").touch).start()
        with Store(tmp_path) as store:
            assert get(store, make) == (5.0, True)
        assert process.wait(30) == 0
    assert make.count == 0


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is claimed on Windows")
def test_a_process_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)]) as process:
        begun(tmp_path, process)
        process.kill()
    with Store(tmp_path) as store:
        assert get(store, Made()) == (1.0, False)


# -- tunings -----------------------------------------------------------------------------------------------------------


def tuned(encoders: int, rank: int, width: int = 3) -> list[dict[str, torch.Tensor]]:
    return [{"0.A": torch.full((rank, width), float(k)), "0.B": torch.zeros(width, rank)} for k in range(encoders)]


def test_tunings_come_back_as_they_were(tmp_path: Path) -> None:
    told = Tuning(rank=2, folds=3)
    with Store(tmp_path) as store:
        for stored in (False, True):
            weights, record, found = tunings.kept_or_tuned(store, KEY, told, lambda: (tuned(3, 2), {"seconds": 1.5}))
            assert (record, found) == ({"seconds": 1.5}, stored)
            assert [float(one["0.A"][0, 0]) for one in weights] == [0.0, 1.0, 2.0]
            assert [sorted(one) for one in weights] == [["0.A", "0.B"]] * 3


@pytest.mark.parametrize("spoiled", ["rank", "encoders", "number", "half"])
def test_tunings_that_are_not_what_is_looked_for_are_made_anew(spoiled: str) -> None:
    keep, told, good = Memory(exact=False), Tuning(rank=2, folds=3), tuned(3, 2)
    bad = tuned(2, 2) if spoiled == "encoders" else tuned(3, 4 if spoiled == "rank" else 2)
    if spoiled == "number":
        bad[1]["0.B"][0, 0] = float("nan")
    elif spoiled == "half":
        del bad[1]["0.B"]
    tunings.kept_or_tuned(keep, KEY, told, lambda: (bad, {}))
    weights, _, stored = tunings.kept_or_tuned(keep, KEY, told, lambda: (good, {}))
    assert not stored
    assert all(torch.equal(a["0.A"], b["0.A"]) for a, b in zip(weights, good, strict=True))
    assert tunings.kept_or_tuned(keep, KEY, told, lambda: pytest.fail("made again"))[2]


def test_how_many_encoders_are_tuned() -> None:
    told = [Tuning(), Tuning(folds=0), Tuning(final="all"), Tuning(folds=0, final="all")]
    assert [one.encoders for one in told] == [3, 1, 4, 1]
