"""What words and patches moved an answer, on made rows whose answer is known."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import plait
from plait import FusionClassifier, FusionRegressor, Modality, PlaitError, Schema, fit_table
from plait.cli import main
from plait.evaluation.parts import GRID, ROWS, WORDS, Moved, moved

QUICK: dict[str, Any] = {"members": 1, "epochs": 20, "width": 8, "branches": ("linear",), "progress": False}
LIGHT: dict[str, Any] = {**QUICK, "store": "none", "encoders": {"text": "hashed_ngrams", "image": "pixel_statistics"}}
PARTS = (Modality("text", "text", ("story",)), Modality("image", "image", ("photo",)))
#: Where the picture's own patch lies.
PATCH = (1, 4)


def picture(bright: bool, rng: np.random.Generator) -> np.ndarray:
    """Some grey all over; in a bright one a single patch is white."""
    pixels = np.full((60, 60, 3), rng.integers(80, 140), np.uint8)
    if bright:
        r, c = (10 * place for place in PATCH)
        pixels[r : r + 10, c : c + 10] = 255
    return pixels


def rows(n: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    big, bright = rng.integers(0, 2, n), rng.integers(0, 2, n)
    words = ["thing", "stands", "there", "alone", "now"]
    return pd.DataFrame(
        {
            "story": [f"{' '.join(rng.permutation(words))} {'huge' if b else 'tiny'}" for b in big],
            "photo": [picture(bool(b), rng) for b in bright],
            "size": np.where(big, "big", "small"),
            "light": np.where(bright, "bright", "dark"),
            "score": 4.0 * big + rng.normal(size=n) / 10,
        }
    )


def fitted(target: str, parts: tuple[Modality, ...], **options: Any) -> Any:
    frame = rows()[[*(c for part in parts for c in part.columns), target]]
    kind = FusionRegressor if target == "score" else FusionClassifier
    options["encoders"] = {part.name: LIGHT["encoders"][part.name] for part in parts}
    return kind(modalities=Schema(parts, target=target), **{**LIGHT, **options}).fit(frame, frame[target])


@pytest.fixture(scope="module")
def by_word() -> Any:
    return fitted("size", PARTS)


def test_the_word_that_decides_moves_the_answer_most(by_word: Any) -> None:
    frame = rows()
    found = [one for one in moved(by_word, frame, [3, 17]) if one.modality == "text"]
    assert [one.row for one in found] == [3, 17]
    for one in found:
        word = "huge" if frame["size"][one.row] == "big" else "tiny"
        assert one.answer == frame["size"][one.row]
        assert one.said(1).startswith(f"{word} +")
        assert max(one.values, key=abs) > 0.05
        assert " ".join(one.parts) == frame["story"][one.row]


def test_a_value_is_the_answer_less_the_one_without_the_word(by_word: Any) -> None:
    frame = rows()
    one = next(m for m in moved(by_word, frame, [5]) if m.modality == "text")
    place = list(by_word.classes_).index(one.answer)
    assert one.full == pytest.approx(by_word.predict_proba(frame)[5, place], abs=1e-6)
    for k in range(len(one.parts)):
        # taken out as it stands: the blanks on both sides stay
        story = re.sub(rf"(?<!\S){one.parts[k]}(?!\S)", "", frame["story"][5])
        without = by_word.predict_proba(frame.iloc[[5]].assign(story=[story]))[0, place]
        assert one.values[k] == pytest.approx(one.full - without, abs=1e-6)


def test_the_patch_that_decides_moves_the_answer_most() -> None:
    frame, model = rows(), fitted("light", PARTS[1:])
    bright = frame.index[frame["light"] == "bright"][:2].tolist()
    for one in moved(model, frame, bright):
        assert one.picture is not None
        assert np.unravel_index(one.grid.argmax(), one.grid.shape) == PATCH
        assert one.grid[PATCH] > 0.2
        assert np.abs(np.delete(one.grid.ravel(), PATCH[0] * GRID + PATCH[1])).max() < 0.5 * one.grid[PATCH]


def test_a_number_moves_by_what_the_word_is_worth() -> None:
    frame, model = rows(), fitted("score", PARTS[:1])
    row = int(frame.index[frame["size"] == "big"][0])
    one = moved(model, frame, [row])[0]
    assert one.full == pytest.approx(model.predict(frame)[row], abs=1e-5)
    assert one.said(1).startswith("huge ")


def test_long_texts_large_pictures_and_empty_cells_cost_a_bounded_number_of_cells(by_word: Any) -> None:
    frame = rows().iloc[:3].copy()
    long = " ".join(f"word{i}" for i in range(1000))
    large = np.tile(picture(True, np.random.default_rng(1)), (20, 10, 1))
    frame["story"] = [long, None, "huge"]
    frame["photo"] = pd.Series([large, None, picture(False, np.random.default_rng(2))], dtype=object)
    found = moved(by_word, frame, [0, 1, 2])
    assert [(one.row, one.modality) for one in found] == [(0, "text"), (0, "image"), (2, "text"), (2, "image")]
    assert len(found[0].parts) <= WORDS
    assert " ".join(found[0].parts) == long
    assert found[1].picture is not None
    assert found[1].picture.shape == (256, 128, 3)
    assert len(found[1].values) == GRID**2


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "rows: 0 named"),
        (list(range(ROWS + 1)), f"rows: {ROWS + 1} named; texts and pictures of 1 to {ROWS} rows"),
        ([80], r"row 80 is not among the 80 rows that are explained \(called 0 to 79\)"),
    ],
)
def test_rows_that_cannot_be_taken_apart_are_one_clear_line(by_word: Any, wanted: list[int], message: str) -> None:
    with pytest.raises(PlaitError, match=message):
        moved(by_word, rows(), wanted)


def test_explain_shows_words_and_heat_in_terminal_page_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2")
    frame = rows()
    (tmp_path / "photos").mkdir()
    for i, pixels in enumerate(frame["photo"]):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    frame["photo"] = [f"photos/{i}.png" for i in range(len(frame))]
    frame = frame.drop(columns=["light", "score"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    known = Schema(PARTS, target="size", root=str(tmp_path))
    done = fit_table(frame, known, LIGHT, out=tmp_path / "m", report=False)
    assert done.explanation.parts == ()

    def run(*arguments: object) -> int:
        try:
            main(["explain", str(tmp_path / "m"), str(tmp_path / "t.csv"), "--no-importance", *map(str, arguments)])
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    assert run("--rows", "3", "--out", tmp_path / "why") == 0
    out = capsys.readouterr().out
    word = "huge" if frame["size"][3] == "big" else "tiny"
    assert re.search(
        rf"row 3, story: the answer is {frame['size'][3]}, with probability 0\.\d+\nit rests most on [^:]+: {word} \+",
        out,
    )
    assert len(re.findall(r"^  (?:[+-]\d\.\d{3} ?){6}$", out, re.MULTILINE)) == GRID
    page = (tmp_path / "why" / "report.html").read_text(encoding="utf-8")
    assert re.search(rf'var\(--blue\) 60%, transparent\)">{word}</span>', page)
    assert "data:image/png;base64" in page
    assert len(re.findall(r"\) 60%", page)) == 1  # one scale for a row: only what moved it most is darkest
    table = pd.read_csv(tmp_path / "why" / "tables" / "moved.csv")
    assert len(table) == 6 + GRID**2
    assert run("--rows", "3", "--json") == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert [one["modality"] for one in parts] == ["text", "image"]
    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        assert run("--rows", "3") == 0
        shown = capsys.readouterr().out
    assert f"\x1b[37m\x1b[44m{word}\x1b[0m" in shown
    assert "\x1b" not in out
    assert run("--rows", "three") == 2
    assert "expected numbers of rows" in capsys.readouterr().err
    explained = plait.explain(done.model, frame, bootstrap=0, rows=[3])
    assert [type(one) for one in explained.parts] == [Moved, Moved]


def test_all_cells_of_a_row_are_told_in_one_unit() -> None:
    model = fitted("size", PARTS)
    parts = moved(model, rows(), range(6))
    assert len(parts) == 12
    for one in parts:
        assert one.most == max(max(map(abs, other.values)) for other in parts if other.row == one.row)
    weak = Moved(0, "text", "name", "yes", 0.999, ("so",), (1e-5,), most=0.002)
    assert weak.said() == "so +0.000", "another cell of the row moves the probability itself"


def test_an_answer_that_is_all_but_certain_is_told_in_log_odds() -> None:
    certain = Moved(0, "text", "note", "yes", 0.999999, ("so", "good", "bad"), (0.0, 2e-6, -5e-7))
    assert certain.said() == "good +1.099, bad -0.693 (in log-odds: the answer is all but certain)"
    assert Moved(0, "text", "note", "yes", 0.9, ("good", "bad"), (0.25, -0.0001)).said() == "good +0.250, bad -0.000"
    assert Moved(0, "text", "note", "7", 7.0, ("good",), (3e-5,), probability=False).said() == "good +3e-05"
    assert Moved(0, "text", "note", "yes", 1.0, ("good",), (0.0,)).said() == "none moves the answer"


def test_what_every_part_of_a_command_finds_out_anew_is_said_once(
    by_word: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_word.save(tmp_path / "model")
    frame = rows()[["story", "size"]].assign(photo=None)
    frame.loc[:3, "size"] = "middling"
    frame.to_csv(tmp_path / "new.csv", index=False)
    for command in ("explain", "evaluate"):
        with pytest.raises(SystemExit) as stop:
            main([command, str(tmp_path / "model"), str(tmp_path / "new.csv"), "--store", "none"])
        assert not stop.value.code
        assert (
            capsys.readouterr().err.count("4 of 80 rows have a class that the model was not fitted on (middling)") == 1
        )
