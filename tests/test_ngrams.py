"""Words, letters and looks stand beside a text's features where training rows say that they help."""

import dataclasses
import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import Ridge

from plait import FusionClassifier, Modality, Schema
from plait.base.inputs import Inputs, followed_by, together
from plait.base.tokens import Tokens
from plait.encoders import ngrams
from plait.encoders.ngrams import Ngrams, fit_ngrams, without
from plait.encoders.shape import NAMES, Scaled, measured
from plait.encoders.word_counts import counted
from plait.encoders.word_ridge import PARTS, PENALTIES, WordRidge
from plait.evaluation.parts import moved
from plait.study import Study
from plait.workflow.fit import fit_table

SETTINGS = {
    "modalities": Schema((Modality("note", "text", ("note",)), Modality("size", "tabular", ("size",)))),
    # Eight hashed places stand in for an encoder that reads the meaning and loses the words.
    "encoders": {"text": {"name": "hashed_ngrams", "width": 8}},
    "store": "none",
    "progress": False,
    "members": 2,
    "epochs": 15,
}
WORDS = np.array([f"{a}{b}{c}" for a in "bdgklm" for b in "aeiou" for c in ("nt", "rsk", "lf", "mp")])


def notes(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Notes of 30 words; the answer: whether one of five words stands in them."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(WORDS), (rows, 30))
    label = np.isin(drawn, np.arange(3)).any(1)
    table = pd.DataFrame({"note": [" ".join(row) for row in WORDS[drawn]], "size": rng.normal(size=rows)})
    return table, np.where(label, "yes", "no")


@pytest.fixture(scope="module")
def fitted() -> FusionClassifier:
    return FusionClassifier(**SETTINGS).fit(*notes(400))


def test_words_are_learned_by_every_branch(fitted):
    table, label = notes(300, seed=1)
    bare = FusionClassifier(**SETTINGS, ngrams="none").fit(*notes(400))
    assert fitted.record_["ngrams"] == ["note"]
    assert bare.record_["ngrams"] == []
    assert fitted.score(table, label) > bare.score(table, label) + 0.1
    held = {name: model.leaderboard_.set_index("branch")["loss"] for name, model in (("words", fitted), ("bare", bare))}
    for branch in ("joint", "ridge", "own:note", "trees"):
        assert held["words"][branch] < held["bare"][branch] - 0.03, branch


def test_absent_texts_saved_models_and_single_rows(fitted, tmp_path):
    table, _ = notes(40, seed=2)
    half = table.assign(note=None)
    assert np.allclose(fitted.predict_subsets(table, [["size"]])[("size",)], fitted.predict_proba(half))
    loaded = FusionClassifier.load(fitted.save(tmp_path / "model"))
    mixed = pd.concat([table, half, table.assign(size=None, note=None)], ignore_index=True)
    assert np.array_equal(loaded.predict_proba(mixed), fitted.predict_proba(mixed))
    alone = np.vstack([fitted.predict_proba(table.iloc[[i]]) for i in range(5)])
    assert np.allclose(alone, fitted.predict_proba(table)[:5], atol=1e-6)


def test_a_whole_fit_judges_its_own_trees_and_explains_words():
    table, label = notes(300)
    settings = {**SETTINGS, "encoders": {"text": {"name": "hashed_ngrams", "width": 64}}, "members": 1, "epochs": 3}
    given = settings.pop("modalities")
    schema = dataclasses.replace(given, target="label", task="classification")
    outcome = fit_table(table.assign(label=label), schema, {**settings, "components": 40})
    assert outcome.model.record_["ngrams"] == ["note"]
    assert {"majority", "linear", "trees"} <= set(outcome.baselines)
    part = moved(outcome.model, table, [0])
    assert np.ptp(part[0].values) > 0


def exported(model: FusionClassifier, table: pd.DataFrame, folder: Path) -> dict[str, np.ndarray]:
    """What the model's file is given; it must answer as the model does."""
    runtime = pytest.importorskip("onnxruntime")
    opened = runtime.InferenceSession(str(model.export(folder) / "model.onnx"))
    feed = model.export_inputs(table)
    known = {given.name for given in opened.get_inputs()}
    answer = opened.run(None, {name: array for name, array in feed.items() if name in known})[0]
    assert np.abs(answer - model.predict_proba(table)).max() < 1e-5
    return feed


def test_an_exported_model_takes_counts(fitted, tmp_path):
    table, _ = notes(30, seed=3)
    table.loc[3, "note"] = None
    assert exported(fitted, table, tmp_path / "file")["note.words"].dtype == np.int32


def test_words_are_counted_as_a_plain_loop_counts_them():
    texts = ["A cat,  a CAT\nand a dog_2", "Straße 12", "", "?!", "x"]
    words = counted(texts, "words")
    for row, text in zip(words.toarray(), texts, strict=True):
        found = re.findall(r"\w+", text.lower())
        several = Counter(found) + Counter(itertools.pairwise(found))
        assert sorted(row[row > 0]) == sorted(map(float, several.values()))
    letters = counted(texts, "letters")
    for row, text in zip(letters.toarray(), texts, strict=True):
        said = re.sub(r"\s+", " ", f" {text.lower()} ")
        groups = Counter(said[i : i + size] for size in (3, 4) for i in range(len(said) - size + 1))
        assert sorted(row[row > 0]) == sorted(map(float, groups.values()))
    alone = np.vstack([counted([text], "letters").toarray() for text in texts])
    assert np.array_equal(alone, letters.toarray())


LOOKS = [
    "# Why?\r\n\r\nIT fails: http://x.org\n- a\n* b\n1. c",
    "ÄÖ straße 12 …\n\n\n  indented",
    "",
    "x\n```py\nfoo_bar()\n```\n> ![a](b) YES",
]


def test_looks_are_measured_as_plain_code_measures_them():
    found = pd.DataFrame(measured(LOOKS), columns=NAMES)
    assert np.array_equal(np.vstack([measured([text]) for text in LOOKS]), found)
    for (_, row), text in zip(found.iterrows(), LOOKS, strict=True):
        text, size = text.replace("\r\n", "\n"), max(1, len(text.replace("\r\n", "\n")))
        lines = text.split("\n")
        shares = {
            "share of capitals": sum(sign.isupper() for sign in text) / size,
            "of capitals that follow another": sum(a.isupper() and b.isupper() for a, b in itertools.pairwise(text))
            / size,
            "of digits": sum(sign.isdigit() for sign in text) / size,
            "of blanks": sum(sign.isspace() for sign in text) / size,
            "beyond ASCII": sum(ord(sign) > 127 for sign in text) / size,
        }
        counts = {
            "words": len(re.findall(r"[^\W_]+", text)),
            "lines": len(lines),
            "longest line": max(map(len, lines)),
            "empty lines": sum(not line for line in lines),
            **{sign: text.count(sign) for sign in "#`?!_.:"},
            **{f"lines that begin with {sign}": sum(line.startswith(sign) for line in lines) for sign in "#-*>"},
            "lines that begin with digit": sum(line[:1].isdigit() for line in lines),
            "lines that begin with blank": sum(line[:1] == " " for line in lines),
            **{phrase: text.count(phrase) for phrase in ("```", "://", "![")},
        }
        assert row[list(shares)].to_dict() == pytest.approx(shares, abs=1e-6)
        assert row[list(counts)].to_dict() == pytest.approx({k: np.log1p(v) for k, v in counts.items()}, abs=1e-6)
    assert np.expm1(found["characters"]).round().tolist() == [len(text) for text in LOOKS]


def poems(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Notes of 30 words on several lines; the answer: on how many."""
    rng = np.random.default_rng(seed)
    drawn, breaks = rng.integers(0, len(WORDS), (rows, 30)), rng.integers(0, 8, rows)
    ends = [rng.permutation(["\n"] * n + [" "] * (30 - n)) for n in breaks]
    said = ["".join(w + s for w, s in zip(WORDS[d], end, strict=True)) for d, end in zip(drawn, ends, strict=True)]
    return pd.DataFrame({"note": said, "size": rng.normal(size=rows)}), np.where(breaks > 3, "yes", "no")


def test_looks_are_taken_where_they_tell_more_and_exported(tmp_path):
    model = FusionClassifier(**{**SETTINGS, "members": 1}).fit(*poems(300))
    assert model.score(*poems(300, seed=1)) > 0.95
    table, _ = poems(20, seed=2)
    table.loc[3, "note"] = None
    assert exported(model, table, tmp_path / "file")["note.shape"].dtype == np.float32
    loaded = FusionClassifier.load(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict_proba(table), model.predict_proba(table))


def test_frequent_words_stand_by_themselves():
    table, _ = notes(200)
    counts = counted(list(table["note"]), "words")
    one = Scaled.fit(counts, 40, 0.5)
    x = np.log1p(counts.toarray())
    assert one.places.tolist() == sorted(np.argsort(-x.var(0), kind="stable")[:40])
    assert np.allclose(one(counts[:, one.places]).std(0), 0.5, atol=1e-3)
    assert Scaled.fit(measured(["same"] * 300 + ["Not the same!"] * 2), 40, 1.0) is None


def test_a_ridge_answers_each_row_by_what_other_rows_teach():
    rng = np.random.default_rng(0)
    kinds = [sparse.csr_matrix(rng.poisson(0.3, (120, width)).astype(np.float32)) for width in (40, 7)]
    x, groups = sparse.hstack(kinds).toarray(), np.arange(120) // 2
    y = (x[:, :3] > 0).any(1)[:, None] + rng.normal(0, 0.1, (120, 2))
    ridge = WordRidge.fit(kinds, y, groups)
    part = (np.random.default_rng(0).permutation(60) % PARTS)[groups]
    plain: dict[float, np.ndarray] = {}
    for penalty in PENALTIES:
        plain[penalty] = np.zeros_like(y)
        for held in range(PARTS):
            rows = part != held
            one = Ridge(penalty * 120, fit_intercept=False).fit(x[rows], y[rows] - y[rows].mean(0))
            plain[penalty][~rows] = one.predict(x[~rows])
    best = min(plain, key=lambda penalty: np.square(y - y.mean(0) - plain[penalty])[part == 0].mean())
    assert np.allclose(ridge.crossed, plain[best], atol=1e-3)
    whole = Ridge(best * 120, fit_intercept=False).fit(x, y - y.mean(0))
    assert np.allclose(np.vstack(ridge.maps), whole.coef_.T, atol=1e-3)


def test_a_ridge_whose_rows_are_all_of_one_group_answers_nothing(recwarn: pytest.WarningsRecorder) -> None:
    rows, y = sparse.csr_matrix(np.eye(20)[np.arange(60) % 20]), np.arange(60.0)[:, None] % 20
    assert not WordRidge.fit([rows], y, np.zeros(60, dtype=int)).crossed.any()
    assert not recwarn.list


def test_rows_of_a_fit_have_cross_fitted_answers():
    table, label = notes(300)
    noise = Tokens.of_vectors(torch.randn(300, 1, generator=torch.Generator().manual_seed(0)))
    inputs = Inputs({"note": noise}, {}, {"note": torch.ones(300, dtype=torch.bool)})
    target = (label == "yes")[:, None].astype(float)
    known, rows = fit_ngrams([Modality("note", "text", ("note",))], table, inputs, target)
    assert known["note"].answers == 1
    fitted, answers = known["note"](list(table["note"]))[:, -1], rows.tokens["note"].x[:, 0, -1].numpy()
    assert np.array_equal(rows.tokens["note"].x[:, 0, 1:-1].numpy(), known["note"](list(table["note"]))[:, :-1])
    more, unseen = notes(300, seed=1)
    new = known["note"](list(more["note"]))[:, -1]
    shown = [
        abs(np.corrcoef(x, y)[0, 1])
        for x, y in ((fitted, target[:, 0]), (answers, target[:, 0]), (new, unseen == "yes"))
    ]
    assert shown[1] == pytest.approx(shown[2], abs=0.1)
    assert shown[0] > shown[1] + 0.1


def letters(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A head of three words and a body of 30; the answer: whether one of some words stands in the head. Some heads are empty."""
    table, _ = notes(rows, seed)
    drawn = np.random.default_rng(seed + 100).integers(0, len(WORDS), (rows, 3))
    head = pd.Series([" ".join(row) for row in WORDS[drawn]]).mask(np.arange(rows) % 10 == 9)
    label = (drawn < 30).any(1) & head.notna().to_numpy()
    return table.assign(head=head), np.where(label, "yes", "no")


def test_words_of_each_column_are_counted_by_themselves(tmp_path):
    given = {**SETTINGS, "members": 1}
    apart = {**given, "modalities": Schema((Modality("note", "text", ("head", "note")),))}
    model = FusionClassifier(**apart).fit(*letters(500))
    table, label = letters(400, seed=1)
    whole = [frame.assign(note=frame["head"].fillna("") + "\n" + frame["note"]) for frame in (letters(500)[0], table)]
    as_one = FusionClassifier(**{**given, "modalities": Schema((Modality("note", "text", ("note",)),))})
    as_one.fit(whole[0], letters(500)[1])
    assert model.score(table, label) > as_one.score(whole[1], label) + 0.1
    assert exported(model, table[:20], tmp_path / "file")["note.ridge_words_1"].dtype == np.int32
    loaded = FusionClassifier.load(model.save(tmp_path / "model"))
    assert np.array_equal(loaded.predict_proba(table), model.predict_proba(table))


def test_words_that_say_nothing_more_are_left_out():
    table, label = notes(300)
    rng = np.random.default_rng(0)
    told = Tokens.of_vectors(torch.from_numpy((label == "yes")[:, None] + rng.normal(0, 0.01, (300, 1))).float())
    modality, present = Modality("note", "text", ("note",)), {"note": torch.ones(300, dtype=torch.bool)}
    target = np.asarray(label == "yes", float)[:, None]
    known, same = fit_ngrams([modality], table, Inputs({"note": told}, {}, present), target)
    assert known == {}
    assert same.words == {}
    noise = Tokens.of_vectors(torch.from_numpy(rng.normal(size=(300, 1))).float())
    known, more = fit_ngrams([modality], table, Inputs({"note": noise}, {}, present), target)
    assert more.words == {"note": known["note"].dim}
    assert torch.equal(without(more).tokens["note"].x, noise.x)
    few = Inputs({"note": noise.take(torch.arange(50))}, {}, {"note": present["note"][:50]})
    assert fit_ngrams([modality], table[:50], few, target[:50])[0] == {}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("first", ["", "x "])
def test_texts_of_one_form_have_no_directions(first):
    form = " ".join(WORDS)
    texts = [*[form] * 199, first + form]
    assert Ngrams.fit({kind: counted(texts, kind) for kind in ("words", "letters")}) is None


def test_words_that_only_name_a_group_are_left_out():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 10)
    names = np.array([" ".join(rng.choice(WORDS, 6)) for _ in range(30)])
    table = pd.DataFrame({"note": [f"{names[g]} {' '.join(rng.choice(WORDS, 6))}" for g in groups]})
    target = rng.normal(size=(30, 1))[groups]  # of each group its own
    inputs = Inputs(
        {"note": Tokens.of_vectors(torch.from_numpy(rng.normal(size=(300, 1))).float())},
        {},
        {"note": torch.ones(300, dtype=torch.bool)},
    )
    rows = ([Modality("note", "text", ("note",))], table, inputs, target)
    assert list(fit_ngrams(*rows)[0]) == ["note"]
    assert fit_ngrams(*rows, groups)[0] == {}


def test_directions_are_learned_from_as_many_rows_as_memory_has_room_for(monkeypatch):
    table, label = notes(300)
    noise = Tokens.of_vectors(torch.randn(300, 1, generator=torch.Generator().manual_seed(0)))
    inputs = Inputs({"note": noise}, {}, {"note": torch.ones(300, dtype=torch.bool)})
    rows = (
        [Modality("note", "text", ("note",))],
        table,
        inputs,
        (label == "yes")[:, None].astype(float),
    )
    monkeypatch.setattr(ngrams, "TRIED_ROWS", 150)
    for most, step in ((1 << 24, 1), (1, 2)):
        monkeypatch.setattr(ngrams, "COUNTED", most)
        known = fit_ngrams(*rows)[0]["note"].parts["words"]
        few = Ngrams.fit({"words": counted(list(table["note"][::step]), "words")}).parts["words"]
        assert np.array_equal(known.axes, few.axes)


def test_rows_keep_their_words():
    table, _ = notes(200)
    words = Ngrams.fit({kind: counted(list(table["note"]), kind) for kind in ("words", "letters")})
    x = words([*table["note"], None])
    assert x.shape == (201, words.dim)
    assert not x[-1].any()
    assert np.allclose(x[:-1].mean(0), 0, atol=1e-3)
    assert np.square(x[:-1, :32]).mean() == pytest.approx(1, rel=0.01)
    tokens = Tokens.of_vectors(torch.from_numpy(x))
    inputs = Inputs({"a": tokens}, {}, {"a": tokens.present}, words={"a": words.dim})
    first = inputs.take(torch.arange(3))
    for rows in (first, inputs.only(["a"]), inputs.to("cpu"), followed_by(first, first), together({"a": inputs})):
        assert rows.words == {"a": words.dim}
    assert dataclasses.replace(inputs, words={}).words == {}


@pytest.mark.parametrize(("estimator", "gain"), [("linear", 0.1), ("trees", 0.02), ("single", 0.1)])
def test_the_baselines_of_a_study_see_words_where_the_model_does(tmp_path, estimator, gain):
    table, label = notes(500)
    table.assign(label=label).to_csv(tmp_path / "notes.csv", index=False)
    spec = {
        "name": "words",
        "data": {"table": str(tmp_path / "notes.csv"), "target": "label", "schema": None},
        "model": {"estimator": estimator, "encoders": {"text": {"name": "hashed_ngrams", "width": 8}}},
        "variants": {"words": {}, "bare": {"ngrams": "none"}},
        "seeds": 1,
    }
    results = Study(spec).run(tmp_path / "out", engine="inline", store="none")
    scores = {line["variant"]: line["evaluations"][0]["metrics"]["accuracy"] for line in results.lines}
    assert scores["words"] > scores["bare"] + gain


def test_what_rounding_leaves_of_a_variance_is_no_scale() -> None:
    texts = ["A" * 19_999 + "b"] * 100 + ["A" * 19_970 + "b"] * 3
    with np.errstate(all="raise"):
        learned = Scaled.fit(measured(texts), len(NAMES), 1.0)
    assert learned is not None
    assert NAMES[learned.places[0]] == "characters"
    assert "share of capitals" not in {NAMES[place] for place in learned.places}
    assert float(learned.scale.max()) < 1e5
