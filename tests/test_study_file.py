"""Study files: what they say, and every mistake at its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from plait.base.errors import ConfigError
from plait.study import Study, recipes
from plait.study.reading import read_spec
from study_tiny import SCHEMA, TOLD, study, table


def mistakes(text: str, tmp_path: Path, *, data: bool = False) -> dict[int | None, str]:
    """Line -> mistakes there."""
    table().to_csv(tmp_path / "tiny.csv", index=False)
    (tmp_path / "tiny.yaml").write_text(SCHEMA)
    (tmp_path / "study.yaml").write_text(text)
    found: dict[int | None, str] = {}
    for mistake in Study.load(tmp_path / "study.yaml").check(data=data):
        found[mistake.line] = f"{found.get(mistake.line, '')} {mistake.text}"
    return found


def test_a_mistake_of_two_variants_on_one_line_is_said_once(tmp_path: Path) -> None:
    text = "name: s\ndata: {table: tiny.csv, schema: tiny.yaml}\ngrid: {dpth: [early, late]}\n"
    found = mistakes(text, tmp_path)
    assert found[3].count("dpth") == 1


WRONG = """\
name: a study
data:
  - {dataset: pokemon, target: type_3}
  - {dataset: pokmon, target: type_1}
  - {dataset: av_digits, target: digit}
modle: {}
model: {epochs: many, widht: 3, random_state: 3}
grid:
  depth: []
  fusion: [concatt, mean, mean]
  encoders.image: [efficientnet]
seeds: 0
split: {kind: kfold, fractions: [0.5, 0.5]}
modalities: {subsets: triples}
conditions:
  train: [clean, {absent: {image: 2}}]
  test: [clean, whitenoise, clean]
metrics: [acuracy]
budget: {minute: 3, memory: much}
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (1, "no name of a folder"),
        (3, "unknown target 'type_3' .*'type_2'"),
        (4, "'pokmon' .*'pokemon'"),
        (6, "'modle' .*'model'"),
        (7, "epochs must be a whole number from 1, found 'many'"),
        (7, "'widht' .*'width'"),
        (7, "'random_state' is told by seeds"),
        (9, "'depth' needs a list of at least one value"),
        (10, "'mean' twice"),
        (10, "'concatt' .*'concat'"),
        (11, "'efficientnet' .*'efficientnet_lite0'"),
        (12, "seeds must be a whole number from 1 to 10,000"),
        (13, "'fractions' says nothing about kfold"),
        (13, "av_digits.* split: official"),
        (14, "'triples'"),
        (16, "rates of 'image' must be a number from 0 to 1"),
        (17, "'whitenoise' .*'white_noise'"),
        (17, "'clean' is given twice"),
        (18, "'acuracy' .*'accuracy'"),
        (19, "'minute' .*'minutes'"),
        (19, "size 'much'"),
    ],
)
def test_every_mistake_is_told_at_its_line(line: int, said: str, tmp_path: Path) -> None:
    assert re.search(said, mistakes(WRONG, tmp_path).get(line, "")), mistakes(WRONG, tmp_path)


AGAINST_TABLE = """\
name: against
data: {table: tiny.csv, schema: tiny.yaml}
model: {encoders: {imge: pixel_statistics}}
modalities: {subsets: [[text], [txt]]}
conditions:
  train:
    - clean
    - {absent: {}}
  test:
    - clean
    - white_noise:image:snr_db=0
metrics: [accuracy, r2]
claims:
  - {metric: f1_macro, value: 0.9}
  - {metric: accuracy, value: 0.9, variant: other, data: tiny/lable}
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (3, "unknown modality 'imge'"),
        (4, "unknown modality 'txt' .*'text'"),
        (8, "nothing is left"),
        (11, "unknown modality 'image'"),
        (12, "'r2' is not for classification"),
        (15, "'other'.*default"),
        (15, "'tiny/lable'.*'tiny/label'"),
    ],
)
def test_mistakes_that_only_the_table_shows(line: int, said: str, tmp_path: Path) -> None:
    text = AGAINST_TABLE.replace("  - {metric: f1_macro, value: 0.9}\n", "  - {metric: accuracy, value: 0.8}\n")
    assert re.search(said, mistakes(text, tmp_path, data=True).get(line, ""))


def test_a_claim_on_a_metric_that_is_not_measured(tmp_path: Path) -> None:
    assert "not measured" in mistakes(AGAINST_TABLE, tmp_path)[14]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": {"trained_weights": 5000}}, "'width' and budget"),
        ({"variants": {"a": {"depth": "late"}}}, "varied by the grid too"),
        ({"baselines": "yes"}, "expected true or false"),
        ({"baselines": True, "variants": {"trees": {"members": 2}}}, "name of a baseline"),
        ({"exclude": [{"depth": ["early", "late"]}]}, "leaves no variant"),
        ({"grid": {"depth": ["early", "decision"], "fusion": ["low_rank"]}}, "joins features; depth 'decision'"),
        ({"grid": {"depth": ["early", 0]}}, None),
        ({"grid": None, "variants": {"a": {}, "b": {"depth": "early"}}}, "are the same model"),
        ({"variants": {"l": {"estimator": "linear"}}}, "are the same model"),
        ({"variants": {"l": {"estimator": "forest"}}}, "unknown estimator"),
        ({"data": {"table": "tiny.csv", "dataset": "pokemon"}}, "expected one of dataset, table and frame"),
        ({"data": {"table": "none.csv", "target": "label"}}, "none.csv"),
        ({"data": {"table": "tiny.csv", "target": "lable"}}, "'lable'.*'label'"),
        ({"split": {"kind": "time", "column": "owner"}}, "says no time"),
        ({"split": {"kind": "holdout", "group": "ownr"}}, "'ownr'.*'owner'"),
        ({"split": "official"}, "no official parts"),
        ({"split": {"kind": "holdout", "fractions": [0.5, 0.6]}}, "sum to 1"),
        ({"model": {"encoders": {"text": "pixel_statistics"}}}, "takes image, not text"),
        ({"present": [["text", "sound"]]}, "unknown modality 'sound'"),
        ({"seeds": [1, 1]}, "given twice"),
    ],
)
def test_contradictions(changes: dict[str, Any], said: str | None, tmp_path: Path) -> None:
    found = "; ".join(map(str, study(tmp_path, **changes).check()))
    assert re.search(said, found) if said else not found


def test_a_right_study_has_no_mistake_and_stays_itself_when_written(tmp_path: Path) -> None:
    one = study(
        tmp_path,
        variants={"plain": {}, "low": {"fusion": {"name": "low_rank", "rank": 2}}},
        modalities={"subsets": "all"},
        present="all",
        conditions={"test": ["clean", {"absent": {"text": [0.5, 1.0]}}, "typos:0.1"]},
        budget={"minutes": 1, "memory": "2GB"},
        claims=[{"metric": "accuracy", "value": 0.8, "where": "table 1"}],
        data={"table": "tiny.csv", "schema": "tiny.yaml", "split": {"kind": "kfold", "folds": 2, "group": "none"}},
    )
    assert one.check() == []
    again, read = read_spec(one.spec.to_dict(), "other")
    assert read.problems == []
    assert again == one.spec
    assert one.spec.test[1:3] == ({"absent": {"text": 0.5}}, {"absent": {"text": 1.0}})


def test_variants_are_all_combinations_with_names_and_rules(tmp_path: Path) -> None:
    told = {
        "grid": {"depth": ["early", "late"], "encoders.text": ["hashed_ngrams"]},
        "exclude": [{"dropout": 0.5, "depth": "late"}],
    }
    one = study(tmp_path, variants={"plain": {}, "wild": {"dropout": 0.5}}, **told)
    labels = [variant.label for variant in one.variants]
    assert labels == [
        "plain depth=early encoders.text=hashed_ngrams",
        "plain depth=late encoders.text=hashed_ngrams",
        "wild depth=early encoders.text=hashed_ngrams",
    ]
    assert one.variants[2].settings == {"dropout": 0.5, "depth": "early", "encoders.text": "hashed_ngrams"}
    assert one.variants[0].model["encoders"] == {"text": "hashed_ngrams"}


def test_a_budget_of_weights_matches_widths(tmp_path: Path) -> None:
    model = {k: v for k, v in TOLD["model"].items() if k != "width"}
    one = study(tmp_path, model=model, budget={"trained_weights": 5000})
    assert one.check() == []
    assert one.variants[0].model["width"] == "match"
    assert one.variants[0].model["max_weights"] == 5000


@pytest.mark.parametrize("name", recipes())
def test_recipes_are_right(name: str) -> None:
    one = Study.load(name)
    assert one.check(data=False) == []
    assert one.name == name
    assert one.spec.about
    assert one.variants


def test_an_unknown_file_names_the_nearest_recipe() -> None:
    with pytest.raises(ConfigError, match="did you mean 'pokemon_200'"):
        Study.load("pokemon_20")


def test_forty_variants_and_five_seeds() -> None:
    one = Study.load("pokemon_200")
    assert len(one.variants) * len(one.spec.seeds) == 200


def test_the_study_of_the_documentation_has_no_mistake(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "studies.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "study.yaml").write_text(text)
    one = Study.load(tmp_path / "study.yaml")
    assert one.check(data=False) == []
    assert len(one.variants) == 6 + 4  # the grid, and baselines


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ("[sise]", "drop: the table has no column 'sise'; did you mean 'size'"),
        ("[label]", "drop: 'label' is to be predicted"),
        ("[text]", r"leaves no column of modality 'text'; say instead .*subsets: \[\[tabular\]\]"),
        ("3", "drop must be text"),
    ],
)
def test_what_no_model_can_drop_is_told_at_its_line(drop: str, said: str, tmp_path: Path) -> None:
    text = f"name: s\ndata: {{table: tiny.csv, schema: tiny.yaml}}\nmodel:\n  drop: {drop}\n"
    found = mistakes(text, tmp_path, data=True)
    assert list(found) == [4]
    assert re.search(said, found[4])
