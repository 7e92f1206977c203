from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from plait import FusionClassifier, FusionRegressor
from plait.base import registry
from plait.base.errors import ConfigError, PlaitWarning, TableError
from plait.base.inputs import Inputs, together
from plait.data import schema, table
from plait.encoders.featurize import Featurizer
from plait.encoders.scale import robust_scale, soft_clip
from plait.encoders.tabular import Tabular

N = 120
RNG = np.random.default_rng(0)


def frame_of(n: int = N) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cost": [None if i % 10 == 0 else str(i % 23) for i in range(n)],
            "weight": RNG.normal(5, 2, n),
            "colour": [("red", "green", "blue", None)[i % 4] for i in range(n)],
            "rare": ["common"] * (n - 2) + ["once", "another"],
            "tags": [("a|b", "b", "", "c|a|b")[i % 4] for i in range(n)],
            "yes": [("yes", "no", None)[i % 3] for i in range(n)],
            "when": [f"2023-{i % 12 + 1:02}-{i % 28 + 1:02}" for i in range(n)],
        }
    )


TYPES = {"cost": "number", "weight": "number", "colour": "category", "rare": "category"}
TYPES |= {"tags": "list", "yes": "boolean", "when": "date"}


def features(encoder: Tabular, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    x = encoder.prepare(frame)["x"]
    return {name: x[:, i] for i, name in enumerate(encoder.names())}


def one(cells: Any, told: str | None = None, **options: Any) -> dict[str, np.ndarray]:
    """Features of a single column fitted on itself."""
    frame = pd.DataFrame({"c": cells})
    found = features(Tabular(types={"c": told} if told else {}, **options).fit(frame), frame)
    return {name.removeprefix("c: "): values for name, values in found.items()}


def test_types_are_looked_at_when_not_told() -> None:
    frame = frame_of()
    told, looked = Tabular(types=TYPES).fit(frame), Tabular().fit(frame)
    assert told.names() == looked.names()
    np.testing.assert_array_equal(told.prepare(frame)["x"], looked.prepare(frame)["x"])


def test_every_feature_has_a_name_and_is_finite() -> None:
    frame = frame_of()
    encoder = Tabular().fit(frame)
    prepared = encoder.prepare(frame)
    assert prepared["x"].shape == (N, encoder.dim) == (N, len(encoder.names()))
    assert len(set(encoder.names())) == encoder.dim
    assert prepared["x"].dtype == np.float32
    assert np.isfinite(prepared["x"]).all()
    assert registry.find("encoders", "tabular") is Tabular


def test_a_number_by_hand() -> None:
    found = one([0.0, 1.0, 2.0, 3.0, 4.0], bins=0)
    z = (np.arange(5) - 2) / 2  # quartiles 1 and 3
    np.testing.assert_allclose(found["value"], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-6)
    assert list(found) == ["value"]
    assert list(one([0.0, 1.0, None, 2.0], bins=0)) == ["value", "missing"]


def test_steps_over_quantiles_by_a_naive_loop() -> None:
    values = RNG.exponential(size=200)
    found = one(values, bins=5)
    edges = np.quantile(values, np.linspace(0, 1, 6))
    for step in range(5):
        expected = [min(max((v - edges[step]) / (edges[step + 1] - edges[step]), 0), 1) for v in values]
        np.testing.assert_allclose(found[f"over {edges[step]:g}"], expected, atol=1e-6)


def test_a_number_with_few_values_has_a_step_per_value() -> None:
    found = one([1, 2, 5] * 60, "number")
    assert list(found) == ["value", "over 1", "over 2"]
    np.testing.assert_array_equal(found["over 1"][:3], [0, 1, 1])
    np.testing.assert_array_equal(found["over 2"][:3], [0, 0, 1])
    assert list(one(RNG.normal(size=120))) == ["value"]  # too few rows for steps
    assert len(one(RNG.normal(size=9000))) == 17


def test_categories_by_hand() -> None:
    found = one(["red", "red", "red", "green", "green", None, "once"], "category", min_count=2)
    assert list(found) == ["= red", "= green", "other", "missing"]
    assert np.stack(list(found.values()), axis=1).argmax(1).tolist() == [0, 0, 0, 1, 1, 3, 2]
    assert sum(found.values()).tolist() == [1.0] * 7


def test_most_frequent_categories_are_kept() -> None:
    cells = [f"k{i}" for i in range(50) for _ in range(60 - i)]
    assert list(one(cells, "category", max_categories=3)) == ["= k0", "= k1", "= k2", "other"]


def test_lists_by_hand() -> None:
    found = one(["a|b", ["b"], None, "a|b|z", "b"], "list", min_count=2)
    assert list(found) == ["has b", "has a", "other", "count", "missing"]
    assert found["has a"].tolist() == [1, 0, 0, 1, 0]
    assert found["has b"].tolist() == [1, 1, 0, 1, 1]
    assert found["other"].tolist() == [0, 0, 0, 1, 0]
    np.testing.assert_allclose(found["count"], [2 / 3, 1 / 3, 0, 1, 1 / 3], rtol=1e-6)
    assert found["missing"].tolist() == [0, 0, 1, 0, 0]


def test_booleans_by_hand() -> None:
    found = one(["yes", "no", None, "YES"], "boolean")
    assert found["true"].tolist() == [1, -1, 0, 1]
    assert found["missing"].tolist() == [0, 0, 1, 0]


def test_dates_by_hand() -> None:
    found = one(["2024-01-06", "2024-01-08", None, "2024-07-06"])
    assert list(found) == [
        "days",
        "sine of year",
        "cosine of year",
        "sine of week",
        "cosine of week",
        "weekend",
        "missing",
    ]
    assert found["weekend"].tolist() == [1, 0, 0, 1]
    assert found["missing"].tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(
        found["sine of week"][[0, 1, 3]] ** 2 + found["cosine of week"][[0, 1, 3]] ** 2, 1, rtol=1e-5
    )
    np.testing.assert_allclose(found["cosine of week"][0], found["cosine of week"][3], rtol=1e-4)
    assert found["cosine of year"][0] > 0.99
    assert found["cosine of year"][3] < -0.99
    assert "sine of day" in one(["2024-01-06 10:00", "2024-01-06 22:00"] * 3)


def test_the_format_of_a_date_may_be_told() -> None:
    cells = ["01/02/2020", "03/02/2020"] * 3
    first, second = (one(cells, f"date {form}")["days"] for form in ("%d/%m/%Y", "%m/%d/%Y"))
    assert (first == second).all()  # two days are two days after scaling ...
    third = [one([*cells, "05/05/2020"], f"date {form}")["days"] for form in ("%d/%m/%Y", "%m/%d/%Y")]
    assert not np.allclose(*third)  # ... but not beside a third


@pytest.mark.parametrize("to", [str, float, object])
def test_types_of_the_frame_do_not_matter(to: Any) -> None:
    plain = pd.DataFrame(
        {"n": [i % 7 for i in range(N)], "k": [(3, 14, 1004)[i % 3] for i in range(N)], "b": [0, 1] * 60}
    )
    encoder = Tabular().fit(plain)
    np.testing.assert_array_equal(encoder.prepare(plain.astype(to))["x"], encoder.prepare(plain)["x"])
    assert Tabular().fit(plain.astype(to)).state() == encoder.state()


def test_what_was_never_seen() -> None:
    frame = frame_of()
    encoder = Tabular(types=TYPES).fit(frame)
    new = frame.head(1).assign(colour="pink", rare="never", tags="q", cost="1e300", weight=-1e300, when="2999-01-01")
    found = features(encoder, new)
    assert all(np.isfinite(v).all() for v in found.values())
    assert sum(v[0] for k, v in found.items() if k.startswith("colour")) == 0  # no rare colour was seen: nothing to say
    assert found["rare: other"][0] == 1
    assert found["tags: other"][0] == 1
    assert found["weight: value"][0] == pytest.approx(-3)


def test_nan_infinity_and_words_count_as_missing_and_are_told() -> None:
    frame = pd.DataFrame(
        {"n": [1.0, 2.0, 3.0, np.nan] * 30, "d": ["2020-01-01", "2021-01-01", None, "2022-05-05"] * 30}
    )
    encoder = Tabular(types={"n": "number", "d": "date"}).fit(frame)
    new = pd.DataFrame({"n": [np.inf, "word", "NA", None], "d": ["soon", None, "2020-01-01", "-"]}, dtype=object)
    with pytest.warns(
        PlaitWarning, match=r"2 in 'n' are infinite or no number \(e.g. 'inf'\); 1 in 'd' are no date \(e.g. 'soon'\)"
    ) as caught:
        found = features(encoder, new)
    assert len(caught) == 1
    assert found["n: missing"].tolist() == [1, 1, 1, 1]
    assert found["n: value"].tolist() == [0, 0, 0, 0]
    assert found["d: missing"].tolist() == [1, 1, 0, 1]


def test_numbers_written_with_commas_when_told() -> None:
    frame = pd.DataFrame({"n": ["1.000,5", "2.000,5", "3.000,5"]})
    encoder = Tabular(types={"n": "number"}, bins=0).fit(frame)
    again = Tabular(types={"n": "number"}, bins=0).fit(pd.DataFrame({"n": [1000.5, 2000.5, 3000.5]}))
    np.testing.assert_array_equal(
        encoder.prepare(frame)["x"], again.prepare(pd.DataFrame({"n": [1000.5, 2000.5, 3000.5]}))["x"]
    )
    row = encoder.prepare(pd.DataFrame({"n": ["2000,5"]}))["x"]  # one row alone would not show how it is written
    assert row[0, 0] == 0


def test_rows_without_anything_are_absent() -> None:
    frame = pd.DataFrame({"a": [1.0, None, None], "b": ["x", "", "y"]})
    encoder = Tabular().fit(frame)
    prepared = encoder.prepare(frame)
    assert prepared["present"].tolist() == [True, False, True]
    tokens = encoder.module()({k: torch.from_numpy(v) for k, v in prepared.items()})
    assert tokens.present.tolist() == [True, False, True]
    assert tokens.x.shape == (3, 1, encoder.dim)


def test_constant_and_empty_columns_do_no_harm() -> None:
    frame = pd.DataFrame({"a": ["k"] * 5, "b": [7.0] * 5, "c": [None] * 5, "d": [1e300, -1e300, 0, 1, 2]})
    encoder = Tabular().fit(frame)
    assert np.isfinite(encoder.prepare(frame)["x"]).all()
    assert np.isfinite(encoder.prepare(frame.assign(b=[1, 2, 3, 4, 5], c="x"))["x"]).all()
    nothing = Tabular(types={"c": "category"}, min_count=10).fit(pd.DataFrame({"c": [None, None]}))
    assert nothing.dim >= 1


def test_state_comes_back_exactly_through_json() -> None:
    frame = frame_of()
    encoder = Tabular(types=TYPES).fit(frame)
    other = Tabular(types=TYPES)
    other.load_state(json.loads(json.dumps(encoder.state())))
    assert other.names() == encoder.names()
    assert other.fingerprint() == encoder.fingerprint()
    np.testing.assert_array_equal(other.prepare(frame)["x"], encoder.prepare(frame)["x"])
    assert encoder.fingerprint() != Tabular(types=TYPES).fit(frame.head(60)).fingerprint()


def test_rows_do_not_look_at_each_other() -> None:
    frame = frame_of()
    encoder = Tabular().fit(frame)
    whole = encoder.prepare(frame)["x"]
    alone = np.vstack([encoder.prepare(frame.iloc[i : i + 1])["x"] for i in range(0, N, 7)])
    np.testing.assert_array_equal(alone, whole[::7])
    np.testing.assert_array_equal(encoder.prepare(frame.iloc[::-1])["x"], whole[::-1])


def test_mistakes_are_named() -> None:
    frame = frame_of()
    with pytest.raises(ConfigError, match="min_count must be a whole number from 1, found 0"):
        Tabular(min_count=0)
    with pytest.raises(ConfigError, match="bins"):
        Tabular(bins=-1)
    with pytest.raises(TableError, match="types names 'colr', no such column; did you mean 'colour'"):
        Tabular(types={"colr": "number"}).fit(frame)
    with pytest.raises(TableError, match="tabular columns are missing: cost"):
        Tabular().fit(frame).prepare(frame.drop(columns="cost"))
    with pytest.raises(TableError, match="takes the rows as a DataFrame, found list"):
        Tabular().fit([1, 2])


def test_soft_clip_and_robust_scale() -> None:
    z = np.array([-1e300, -1.0, 0.0, 1e-3, 1e300, np.inf])
    clipped = soft_clip(z)
    assert np.isfinite(clipped).all()
    assert clipped[0] == pytest.approx(-3)
    assert clipped[3] == pytest.approx(1e-3)
    assert (np.diff(soft_clip(np.linspace(-50, 50, 999))) > 0).all()
    assert robust_scale(np.array([1.0] * 9 + [5.0])) == (1.0, 0.5)
    assert robust_scale(np.array([2.0, 2.0])) == (2.0, 0.0)
    assert robust_scale(np.zeros(0)) == (0.0, 0.0)


def test_real_table(data_root: Path) -> None:
    frame = table.read_table(data_root / "hearthstone" / "hearthstone.csv")
    found = schema.infer(frame, "race")
    (tabular,) = [m for m in found.modalities if m.kind == "tabular"]
    encoder = Tabular(types=found.types_of(tabular)).fit(frame[list(tabular.columns)])
    prepared = encoder.prepare(frame[list(tabular.columns)])
    assert prepared["x"].shape == (len(frame), encoder.dim)
    assert np.isfinite(prepared["x"]).all()
    assert prepared["present"].all()
    assert encoder.dim < 600


def plain(encoder: Tabular, frame: pd.DataFrame) -> dict[str, list[float]]:
    """The plain view by name."""
    view = encoder.columns(frame)
    numbers = {name: view.numbers[:, i].tolist() for i, name in enumerate(view.number_names)}
    return numbers | {name: view.codes[:, i].tolist() for i, name in enumerate(view.code_names)}


def test_the_plain_view_holds_values_as_they_are() -> None:
    frame = pd.DataFrame(
        {
            "cost": ["3", "1,5", "", "1e300"],
            "colour": ["red", "green", "red", None],
            "tags": ["a|b", "b", None, "c"],
            "yes": ["yes", "no", None, "no"],
            "when": ["2024-01-06 12:30", "2024-07-01 00:00", None, "1969-12-31 18:00"],
        }
    )
    types = {"cost": "number", "colour": "category", "tags": "list", "yes": "boolean", "when": "date"}
    encoder = Tabular(types=types, min_count=1).fit(frame)
    view = plain(encoder, frame)
    nan, most = np.nan, float(np.finfo(np.float32).max)
    expected = {
        "cost": [3, 1.5, nan, most],
        "tags: has b": [1, 1, nan, 0],
        "tags: has a": [1, 0, nan, 0],
        "tags: has c": [0, 0, nan, 1],
        "tags: count": [2, 1, nan, 1],
        "yes": [1, 0, nan, 0],
        "when: days": [19728 + 12.5 / 24, 19905, nan, -0.25],
        "when: month": [1, 7, nan, 12],
        "when: weekday": [5, 0, nan, 2],
        "when: hour": [12.5, 0, nan, 18],
        "colour": [0, 1, 0, -1],
    }
    assert list(view) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(view[name], values, rtol=1e-6, err_msg=name)
    assert encoder.columns(frame).levels == (2,)
    assert plain(encoder, frame.assign(colour="blue"))["colour"] == [-1] * 4


def test_every_level_has_a_code_of_its_own_also_without_a_flag() -> None:
    cells = ["a"] * 5 + ["b"] * 4 + ["once", "again"]
    frame = pd.DataFrame({"c": cells})
    encoder = Tabular(types={"c": "category"}, max_categories=1).fit(frame)
    assert encoder.names() == ["c: = a", "c: other"]
    assert plain(encoder, frame)["c"] == [0] * 5 + [1] * 4 + [3, 2]
    again = Tabular(types={"c": "category"}, max_categories=1)
    again.load_state(json.loads(json.dumps(encoder.state())))
    assert plain(again, frame) == plain(encoder, frame)


def test_a_state_of_the_first_version_gives_what_it_gave() -> None:
    """Without the levels that have no flag; and the fingerprint of a state without such levels is the same as ever."""
    frame = pd.DataFrame({"c": ["a", "a", "b", "b", "b"]})
    encoder = Tabular(types={"c": "category"}, min_count=1).fit(frame)
    old = {"columns": [{"type": "category", "name": "c", "levels": ["b", "a"], "other": False, "missing": False}]}
    assert json.loads(json.dumps(encoder.state())) == old
    assert encoder.fingerprint() == "2a9df9d77ddbd71d49ba2338e25b8c89"


def test_columns_travel_with_the_rows() -> None:
    frame = frame_of(8)
    modality = schema.Modality("table", "tabular", tuple(frame.columns))
    features = Featurizer(schema.Schema((modality,)), types=TYPES)
    features.fit(frame, None)
    inputs = features.transform(frame, None, None, strict=True, progress=False)
    view = inputs.columns["table"]
    assert view.numbers.dtype == torch.float32
    assert view.codes.dtype == torch.int64
    assert len(view) == len(inputs) == 8
    taken = inputs.take(torch.tensor([5, 1])).columns["table"]
    torch.testing.assert_close(taken.numbers, view.numbers[[5, 1]], equal_nan=True)
    assert taken.codes.tolist() == view.codes[[5, 1]].tolist()
    gone = inputs.only(()).columns["table"]
    assert gone.numbers.isnan().all()
    assert (gone.codes == -1).all()
    same = inputs.only(("table",)).to("cpu").columns["table"]
    torch.testing.assert_close(same.numbers, view.numbers, equal_nan=True)
    other = Inputs({}, {}, {"b": torch.ones(8, dtype=torch.bool)})
    assert together({"table": inputs, "b": other}).columns == inputs.columns


def test_a_code_is_a_number_and_a_category_at_once() -> None:
    frame = pd.DataFrame({"zip": ["10115", "10117", "80331", "80333", "80333", None, "A12"] * 10})
    encoder = Tabular(types={"zip": "code"}, bins=0).fit(frame)
    names = encoder.names()
    assert names[0] == "zip: value"
    assert names[1:] == [f"zip: = {level}" for level in ("80333", "10115", "10117", "80331", "A12")] + ["zip: missing"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a code that is no number is not bad
        prepared = encoder.prepare(frame)["x"]
    assert prepared[6].tolist() == [0, 0, 0, 0, 0, 1, 0]
    view = encoder.columns(frame)
    assert (view.number_names, view.code_names, view.levels) == (("zip",), ("zip",), (5,))
    np.testing.assert_array_equal(view.numbers[:7, 0], [10115, 10117, 80331, 80333, 80333, np.nan, np.nan])
    assert view.codes[:7, 0].tolist() == [1, 2, 3, 0, 0, -1, 4]


def test_values_of_which_none_was_there_are_told() -> None:
    encoder = Tabular(types={"c": "category"}).fit(pd.DataFrame({"c": ["Red", "Blue", None] * 10}))
    with pytest.warns(PlaitWarning, match=r"none of the 20 in 'c' \(e.g. 'red'\) is a value of the fit, as 'Blue'"):
        encoder.prepare(pd.DataFrame({"c": ["red", "blue"] * 10 + [None]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.prepare(pd.DataFrame({"c": ["red"] * 20 + ["Blue"]}))
        encoder.prepare(pd.DataFrame({"c": ["red"]}))  # one row says nothing


def test_ordered_categories_have_a_rank() -> None:
    cells = ["low", "HIGH", "medium", None, "unheard"]
    result = one(cells, "ordinal low < medium < high", min_count=1)
    assert result["rank"].tolist() == [-1, 1, 0, 0, 0]
    assert list(result)[1:] == ["= HIGH", "= low", "= medium", "= unheard", "missing"]
    usual = one(["S", "XL", "M", "L", "L"], "ordinal", min_count=1)
    np.testing.assert_allclose(usual["rank"], [-1, 1, -1 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    frame = pd.DataFrame({"c": cells})
    encoder = Tabular(types={"c": "ordinal low < medium < high"}).fit(frame)
    np.testing.assert_array_equal(encoder.columns(frame).numbers[:, 0], [0, 2, 1, np.nan, np.nan])
    with pytest.raises(TableError, match=r"column 'c': no order is known of 'red', 'blue'; write it"):
        one(["red", "blue"], "ordinal")
    with pytest.raises(
        TableError, match=r"most cells \('low', 'HIGH', 'medium', 'unheard'\) are not in its order a < b"
    ):
        one(cells, "ordinal a < b")
    with pytest.raises(TableError, match="a word stands twice in its order low < Low < high"):
        one(cells, "ordinal low < Low < high")
    with pytest.raises(ConfigError, match="column 'c': unknown type 'ordinary': did you mean 'ordinal'"):
        one(cells, "ordinary")
    assert schema.from_dict(
        {"modalities": {"t": {"kind": "tabular", "columns": ["c"], "types": {"c": "ordinal a < b"}}}}
    ).types == {"c": "ordinal a < b"}


TITLES = [
    f"{rank} {job} {i % 3}" for i, rank in enumerate(("Senior", "Chief", "Junior")) for job in ("Nurse", "Driver")
]
TITLES += [
    f"{rank} {job} of {place}" for rank in ("Senior", "Vice") for job in ("Clerk", "Painter") for place in "ABCDEFGHIJK"
]


def test_spellings_that_are_alike_are_near() -> None:
    frame = pd.DataFrame({"title": [*TITLES, None]})
    encoder = Tabular(types={"title": "category"}, ngrams=8).fit(frame)
    new = pd.DataFrame({"title": ["Painters of the Z", "painter", "Clerk (Z)", "#", None]})  # none was ever seen
    there = np.array([name.startswith("title: spelling") for name in encoder.names()])
    assert there.sum() == 8
    painters, painter, clerk, nothing, gone = encoder.prepare(new)["x"][:, there]
    assert painters @ painter > 0.8 * np.linalg.norm(painters) * np.linalg.norm(painter)
    assert painters @ clerk < 0.5 * np.linalg.norm(painters) * np.linalg.norm(clerk)
    assert not nothing.any()
    assert not gone.any()
    numbers = encoder.columns(new).numbers
    np.testing.assert_array_equal(numbers[:4], encoder.prepare(new)["x"][:4, there])
    assert numbers[4].isnan().all()
    again = Tabular(types={"title": "category"}, ngrams=8)
    again.load_state(encoder.state())
    np.testing.assert_array_equal(again.prepare(frame)["x"], encoder.prepare(frame)["x"])
    assert again.fingerprint() == encoder.fingerprint()


def test_spellings_by_the_usual_estimators() -> None:
    """The same places as of scikit-learn's own TF-IDF and truncated SVD, up to scale and half precision."""
    frame = pd.DataFrame({"title": TITLES})
    encoder = Tabular(types={"title": "category"}, ngrams=5).fit(frame)
    there = [name.startswith("title: spelling") for name in encoder.names()]
    result = encoder.prepare(frame)["x"][:, there]
    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4)).fit(list(dict.fromkeys(TITLES)))
    usual = (
        TruncatedSVD(5, random_state=0)
        .fit(words.transform(list(dict.fromkeys(TITLES))))
        .transform(words.transform(TITLES))
    )
    scale = (result * usual).sum(0) / (usual * usual).sum(0)
    np.testing.assert_allclose(result, usual * scale, atol=0.02 * np.abs(result).max())


@pytest.mark.filterwarnings("ignore:categories that no row of the fit had:plait.PlaitWarning")  # without their letters
def test_titles_that_are_categories_are_worth_what_they_say() -> None:
    """Each of 160 titles stands in few rows; what it pays hangs on its words, which no flag per title can learn."""
    rng = np.random.default_rng(0)
    jobs, grades = ["nurse", "driver", "clerk", "painter", "chemist"], ["trainee", "junior", "senior", "chief"]
    kinds = [(j, g, f"{g} {j}, {u}{n}") for j in range(5) for g in range(4) for u in "ns" for n in range(4)]
    kinds = [(j, g, said.replace(f"{g} {j}", f"{grades[g]} {jobs[j]}")) for j, g, said in kinds]
    picked = [kinds[i] for i in rng.integers(0, len(kinds), 400)]
    frame = pd.DataFrame({"title": [said for _, _, said in picked], "years": rng.integers(0, 30, 400)})
    pay = np.array([9 * (3 * j % 5) + 7 * g for j, g, _ in picked]) + rng.normal(0, 1, 400)
    assert schema.infer(frame.assign(pay=pay), target="pay").types["title"] == "category"
    score = {}
    for ngrams in (30, 0):
        encoder = {"name": "tabular", "ngrams": ngrams, "types": {"title": "category"}}
        table_of = {"table": {"kind": "tabular", "columns": ["title", "years"], "encoder": encoder}}
        usual: dict[str, Any] = {"branches": ["linear"], "members": 2, "store": "none", "progress": False}
        fitted = FusionRegressor(**usual, modalities=table_of).fit(frame[:250], pay[:250])
        score[ngrams] = fitted.score(frame[250:], pay[250:])
    assert score[30] > 0.9
    assert 1 - score[30] < 0.5 * (1 - score[0])


@pytest.mark.parametrize("cells", [[f"r{i}" for i in range(60)], ["Clerk", "Painter"] * 30])
def test_codes_and_few_spellings_have_no_letter_groups(cells: list[str]) -> None:
    assert not any("spelling" in name for name in one(cells, "category", min_count=1))
    assert not any("spelling" in name for name in one(TITLES, "category", ngrams=0))


@pytest.mark.parametrize("rare", [False, True], ids=["all frequent", "some rare"])
def test_categories_that_only_a_prediction_has_are_counted_and_count_as_unknown(rare: bool) -> None:
    """One line, whatever the row; two of them say the same; the model answers as for any level that it does not know."""
    size, kind = RNG.normal(size=120), np.array(["a", "b", "c"] * 40, dtype=object)
    kind[:2] = ["once", "twice"] if rare else kind[:2]
    frame = pd.DataFrame({"size": size, "kind": kind, "zone": ["north", "south"] * 60})
    model = FusionClassifier(
        branches=["linear", {"name": "trees", "rounds": 5}], epochs=3, store="none", progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(frame, size + RNG.normal(size=120) > 0).predict(frame)
        model.predict(frame.assign(kind=None))
    new = frame.assign(kind=["d", "e", "a"] * 40)
    with pytest.warns(PlaitWarning, match=r"had count as unknown: 80 in 'kind' \(e.g. 'd'\)$") as told:
        answers = model.predict_proba(new)
    assert len(told) == 1
    assert np.isfinite(answers).all()
    with pytest.warns(PlaitWarning, match="80 in 'kind'"):
        np.testing.assert_array_equal(answers, model.predict_proba(new.replace({"d": "f", "e": "f"})))
    with pytest.warns(PlaitWarning, match="120 in 'kind'") as told:
        model.predict(frame.assign(kind="d"))
    assert len(told) == 1, "none of the fit's values: told in one way, not in two"
