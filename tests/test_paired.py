"""Two labelled sets as one: every pair reachable, none written out, parts kept apart."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plait.base.errors import ConfigError, TableError
from plait.data.table import split
from plait.datasets.av_digits import AvDigits, Pairs, paired
from plait.datasets.digits import spoken, written

LEFT = ["b", "a", "b", "x", "a", None]
RIGHT = ["a", "b", "y", "b", "b", float("nan")]


def test_pairs_are_those_of_a_double_loop() -> None:
    pairs = Pairs(np.array(LEFT, object), np.array(RIGHT, object))
    expected = {(i, j) for (i, a), (j, b) in product(enumerate(LEFT), enumerate(RIGHT)) if a == b and a is not None}
    assert len(pairs) == len(expected) == 8
    assert {pairs[i] for i in range(len(pairs))} == expected
    assert pairs[-1] == pairs[len(pairs) - 1]
    assert pairs.labels == ["a", "b"]
    with pytest.raises(IndexError, match="pair 8 of 8"):
        pairs[8]


def test_drawn_pairs_are_different_seeded_and_even() -> None:
    pairs = Pairs(["a"] * 3 + ["b"], ["a"] * 2 + ["b"] * 2)
    drawn = [tuple(zip(*pairs.draw(8, seed), strict=True)) for seed in range(400)]
    assert all(len(set(found)) == 8 for found in drawn)
    assert drawn[3] == tuple(zip(*pairs.draw(8, 3), strict=True))
    assert drawn[0] != drawn[1]
    first = Counter(found[0] for found in drawn)
    assert set(first) == {pairs[i] for i in range(8)}
    assert max(first.values()) < 2.5 * min(first.values())  # 50 each on average
    with pytest.raises(ConfigError, match="9 pairs asked for; expected 0 to the 8"):
        pairs.draw(9)


def test_eighteen_million_pairs_take_no_memory() -> None:
    rng = np.random.default_rng(0)
    pairs = Pairs(rng.integers(0, 10, 60_000), rng.integers(0, 10, 3000))
    assert 17e6 < len(pairs) < 19e6
    held = sum(rows.nbytes for rows in (*pairs._left, *pairs._right))
    assert held == 8 * 63_000
    left, right = pairs.draw(1000, 1)
    assert len(set(zip(left.tolist(), right.tolist(), strict=True))) == 1000


def test_labels_must_meet() -> None:
    with pytest.raises(TableError, match=r"no label is in both sets: one has 'a', 'b', the other 1, 2$"):
        Pairs(["a", "b"], [1, 2])
    with pytest.raises(TableError, match=r"one has 1, 2, 3, \.\.\., the other 9"):
        Pairs([1, 2, 3, 4], [9])
    with pytest.raises(TableError, match="the other none"):
        Pairs(["a"], np.array([None], object))


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    seen = pd.DataFrame({"image": [np.full((2, 2), i) for i in range(20)], "kind": [i % 4 for i in range(20)]})
    heard = pd.DataFrame({"audio": [f"{i}.ogg" for i in range(12)], "label": [str(i % 3) for i in range(12)]})
    return seen, heard


def test_any_two_tables_are_paired() -> None:
    seen, heard = tables()
    found = paired(seen, heard, ("kind", "label"), 30, seed=1)
    assert list(found.columns) == ["image", "kind", "audio"]
    assert len(found) == 30
    for row in found.itertuples():
        assert int(row.audio.split(".")[0]) % 3 == row.kind  # 1 and "1" are one label; 3 has no partner
    assert found["image"].iloc[0] is seen["image"].iloc[int(found["image"].iloc[0][0, 0])]  # shared, not copied
    assert found.equals(paired(seen, heard, ("kind", "label"), 30, seed=1))


@pytest.mark.parametrize(
    ("change", "on", "message"),
    [
        ({}, "label", "no column 'label' of labels; it has: image, kind"),
        ({"audio": "image"}, ("kind", "label"), "both tables have a column image"),
    ],
)
def test_tables_that_cannot_be_paired(change: dict[str, str], on: Any, message: str) -> None:
    seen, heard = tables()
    with pytest.raises(TableError, match=message):
        paired(seen, heard.rename(columns=change), on, 3)


def test_parts_that_are_split_first_share_nothing() -> None:
    seen, heard = tables()
    parts = [split(frame, (0.5, 0.5), 0, stratify=name) for frame, name in ((seen, "kind"), (heard, "label"))]
    found = [
        paired(seen.iloc[a], heard.iloc[b], ("kind", "label"), 10) for a, b in zip(*parts, strict=True)
    ]  # fmt: skip
    sounds = [set(frame["audio"]) for frame in found]
    assert not sounds[0] & sounds[1]


def small_digits(folder: Path) -> Path:
    """Files such as those of MNIST and FSDD; the number in a picture and in a sound tells which it is."""
    rng = np.random.default_rng(0)
    (folder / "mnist").mkdir()
    (folder / "fsdd").mkdir()
    images = np.zeros((300, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(300) % 256, np.arange(300) // 256
    digits = (np.arange(300) % 10).astype(np.uint8)
    np.savez(
        folder / "mnist" / "mnist.npz",
        x_train=images[:240],
        y_train=digits[:240],
        x_test=images[240:],
        y_test=digits[240:],
    )
    speaker, digit, index = (g.ravel() for g in np.meshgrid(np.arange(6), np.arange(10), np.arange(8), indexing="ij"))
    wave = np.repeat(np.arange(480, dtype=np.int16), 3)
    names = np.array(["ann", "ben", "cid", "dot", "eve", "lucas"])[speaker]
    np.savez(
        folder / "fsdd" / "fsdd.npz",
        wave=wave, offset=np.arange(0, 3 * 481, 3, dtype=np.int32), digit=digit.astype(np.uint8), speaker=names,
        index=rng.permuted(index.reshape(60, 8), axis=1).ravel().astype(np.uint8),
    )  # fmt: skip
    return folder


def which(frame: pd.DataFrame) -> list[set[int]]:
    """Pictures and recordings of a part."""
    return [
        {int(x[0, 0]) + 256 * int(x[0, 1]) for x in frame["image"]},
        {int(sound[0]) for sound, _ in frame["audio"]},
    ]


@pytest.mark.parametrize("parts", ["official", "pooled", "speaker"])
def test_digits_of_a_part_are_in_no_other(parts: str, tmp_path: Path) -> None:
    root = small_digits(tmp_path)
    frame = AvDigits(200, 80, 1, valid_pairs=60, parts=parts).load(root).frame
    assert frame["split"].value_counts().to_dict() == {"train": 200, "test": 80, "valid": 60}
    found = {part: which(rows) for part, rows in frame.groupby("split")}
    for a, b in (("train", "test"), ("train", "valid"), ("valid", "test")):
        for first, second in zip(found[a], found[b], strict=True):
            assert not first & second
    for picture, (sound, _), digit in zip(frame["image"], frame["audio"], frame["digit"], strict=True):
        assert (int(picture[0, 0]) + 256 * int(picture[0, 1])) % 10 == int(digit)
        assert int(sound[0]) // 8 % 10 == int(digit)
    if parts == "speaker":
        speakers = frame.groupby("split")["speaker"].agg(set)
        assert [len(speakers[part]) for part in ("train", "valid", "test")] == [4, 1, 1]
        assert not speakers["train"] & (speakers["test"] | speakers["valid"])
    if parts != "pooled":
        assert {i >= 240 for i in found["test"][0]} == {True}
        assert {i >= 240 for i in found["train"][0] | found["valid"][0]} == {False}


def test_pooled_digits_are_split_eight_to_one_to_one(tmp_path: Path) -> None:
    root = small_digits(tmp_path)
    data = AvDigits(1, 1, 0, valid_pairs=1, parts="pooled")
    seen, heard = data.split(written(root / "mnist"), spoken(root / "fsdd"))
    assert [int((seen == part).sum()) for part in ("train", "valid", "test")] == [240, 30, 30]
    assert [int((heard == part).sum()) for part in ("train", "valid", "test")] == [384, 48, 48]


def test_the_release_of_the_paper_leaves_one_speaker_out(tmp_path: Path) -> None:
    root = small_digits(tmp_path)
    for parts in ("official", "pooled", "speaker"):
        frame = AvDigits(200, 80, 1, parts=parts, release="1.0.9").load(root).frame
        assert "lucas" not in set(frame["speaker"])
    counts = {}
    for release in ("1.0.9", "1.0.10"):
        made = AvDigits(1, parts="pooled", release=release)
        seen, heard = written(root / "mnist"), spoken(root / "fsdd")
        images, sounds = made.split(seen, heard)
        counts[release] = sum(
            len(Pairs(seen.digits[images == p], heard.digit[sounds == p])) for p in ("train", "valid", "test")
        )
    assert counts["1.0.9"] < counts["1.0.10"]


def test_validation_pairs_change_no_other(tmp_path: Path) -> None:
    root = small_digits(tmp_path)
    frames = [AvDigits(50, 20, 3, valid_pairs=v, parts="pooled").load(root).frame for v in (0, 9)]
    kept = frames[1][frames[1]["split"] != "valid"]
    assert frames[0]["digit"].tolist() == kept["digit"].tolist()


def test_parts_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match="did you mean 'pooled'"):
        AvDigits(parts="poled")
    with pytest.raises(ConfigError, match="valid_pairs must be a whole number from 0, found -1"):
        AvDigits(valid_pairs=-1)
