"""Every data set keeps its contract; what only the real files can show is skipped without PLAIT_DATA."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plait.base import registry
from plait.base.errors import ConfigError, MissingDependencyError, TableError
from plait.data import schema as plait_schema
from plait.data.modality import Modality
from plait.datasets.av_digits import AvDigits
from plait.datasets.base import Dataset, Loaded, in_archive, make_schema
from plait.datasets.hearthstone_cards import read_cards
from plait.datasets.hearthstone_tables import named, plain
from plait.datasets.issues import cut_code
from plait.datasets.movies import common_genres, without_commonest
from plait.datasets.payments import COLUMNS as PAYMENTS
from plait.datasets.pokemon import male_percent
from plait.metrics.base import metrics
from plait.networks.tasks import TASKS

NAMES = registry.names("datasets")

#: data set -> target -> (rows with the target, classes; None for numbers), as the sources and docstrings say.
FACTS = {
    "av_digits": {"digit": (4000, 10)},
    "cifar10": {"label": (60000, 10)},
    "conala": {"pairs": (2878, None)},
    "esc10": {"label": (400, 10)},
    "flickr8k": {"pairs": (5000, None)},
    "flickr8k_captions": {"pairs": (32364, None)},
    "games": {"Global_Sales": (16572, None)},
    "hearthstone": {"cardClass": (11116, 13), "set": (11905, 41), "race": (3541, 34), "spellSchool": (1139, 7)},
    "issues": {"label": (1500, 3)},
    "mosi": {"binary": (2099, 2), "three": (2195, 3), "seven": (2195, 7), "score": (2195, None)},
    "movies": {"genres": (2656, None)},
    "mrpc": {"paraphrase": (5801, 2)},
    "payments": {"status": (10000, 2)},
    "petfinder": {"AdoptionSpeed": (3000, 5), "speed": (3000, None)},
    "pokemon": {"type_1": (898, 18), "type_2": (442, 18)},
    "stsb": {"score": (8628, None)},
}
#: Columns that give the answer away, by data set and target.
LEAKS = {
    ("pokemon", "type_1"): {"type_2", "id"},
    ("pokemon", "type_2"): {"type_1", "id"},
    ("hearthstone", "set"): {"id", "artist"},
    ("hearthstone", "cardClass"): {"id"},
    ("movies", "genres"): {"text_raw", "poster_label", "title", "imdbId"},
    ("mosi", "three"): {"binary", "seven", "score", "video"},
    ("mosi", "binary"): {"seven", "score", "video"},
    ("mosi", "seven"): {"binary", "score", "video"},
    ("mosi", "score"): {"binary", "seven", "video"},
    ("petfinder", "AdoptionSpeed"): {"speed", "RescuerID"},
    ("petfinder", "speed"): {"AdoptionSpeed", "RescuerID"},
    ("esc10", "label"): {"fold", "recording"},
    ("av_digits", "digit"): {"speaker"},
    ("conala", "pairs"): {"rewritten_intent", "question_id"},
}
_CACHE: dict[str, Loaded] = {}


def loaded(name: str, root: Path) -> Loaded:
    """Each data set is read once for all tests; nobody changes it."""
    if name not in _CACHE:
        _CACHE[name] = registry.find("datasets", name)().load(root)
    return _CACHE[name]


def inputs(loaded: Loaded, target: str) -> list[str]:
    return [column for modality in loaded.schemas[target].modalities for column in modality.columns]


def check(name: str, found: Loaded) -> None:
    """What holds for every data set, with or without its real files."""
    cls = registry.find("datasets", name)
    assert list(found.schemas) == (list(cls.tasks) or ["pairs"])
    for column in (found.split, found.folds, found.groups):
        assert column is None or found.frame[column].notna().all()
    if found.split:
        assert set(found.frame[found.split]) <= {"train", "valid", "test"}
    for target in found.schemas:
        rows, schema = found.of(target)
        used = inputs(found, target)
        accounted = [*used, *schema.ignored, *([schema.target] if schema.target else [])]
        assert sorted(accounted) == sorted(found.frame.columns)
        assert len(rows) > 0
        assert list(rows.index) == list(range(len(rows)))
        if schema.target:
            assert schema.target == target
            assert schema.task == cls.tasks[target]
            assert rows[target].notna().all()
        assert not (LEAKS.get((name, target), set()) & set(used))
        assert all(reason for reason in schema.ignored.values())
        assert set(schema.types) <= set(used)


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_complete(name: str) -> None:
    cls = registry.find("datasets", name)
    assert cls.name() == name
    assert cls.url.startswith("http")
    assert cls.title
    assert cls.licence
    assert cls.citation
    assert set(cls.tasks) == set(cls.metrics)
    assert set(cls.tasks.values()) <= set(TASKS)
    assert all(cls.metrics[target] in metrics(task) for target, task in cls.tasks.items())
    assert cls.label().endswith("(rebuilt)") is cls.rebuilt


@pytest.mark.parametrize("content", [b"", b"half a file", b"a,b\n1,2\n", b"\x1f\x8b\xff", b"[]"])
@pytest.mark.parametrize("name", [n for n in NAMES if registry.find("datasets", n).files])
def test_files_that_are_damaged_or_of_another_layout_are_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    cls = registry.find("datasets", name)
    for file in cls.files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(content)
    with pytest.raises(TableError) as told:
        cls().load(tmp_path)
    assert "\n" not in str(told.value)
    assert str(tmp_path) in str(told.value)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    for file in registry.find("datasets", "av_mnist").files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / file.path, np.zeros(3))
    (tmp_path / "avmnist" / "image" / "train_data.npy").write_bytes(b"<html>")
    with pytest.raises(
        TableError, match=r"train_data.npy is damaged, or no .npy file .*bring it again; AV-MNIST comes"
    ):
        registry.find("datasets", "av_mnist")().load(tmp_path)


def test_describe_lists_targets_licence_and_source() -> None:
    records = {record["name"]: record for record in registry.describe("datasets")}
    assert set(records) == set(NAMES)
    assert records["pokemon"]["label"] == "Pokemon (rebuilt)"
    assert records["mosi"]["targets"].startswith("binary (classification, accuracy), three")
    assert records["flickr8k"]["targets"] == "none (pairs)"
    assert all(record["summary"] and record["licence"] and record["source"] for record in records.values())


def test_stand_ins_say_so() -> None:
    assert [n for n in NAMES if registry.find("datasets", n).rebuilt] == ["hearthstone", "issues", "movies", "pokemon"]


@pytest.mark.parametrize("name", [n for n in NAMES if n != "hearthstone_cards"])
def test_no_folder_names_the_public_source(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cls = registry.find("datasets", name)
    monkeypatch.delenv("PLAIT_DATA", raising=False)
    with pytest.raises(TableError, match="no folder given; set PLAIT_DATA") as error:
        cls().load()
    assert cls.url in str(error.value)
    monkeypatch.setenv("PLAIT_DATA", str(tmp_path))
    with pytest.raises(TableError, match="is not there") as error:
        cls().load()
    assert cls.url in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLAIT_DATA", "/nowhere")
    (tmp_path / "a.csv").write_text("x\n")
    assert registry.find("datasets", "stsb").file(tmp_path, "a.csv") == tmp_path / "a.csv"


def test_a_schema_accounts_for_every_column_once() -> None:
    frame = pd.DataFrame({"a": ["x"], "b": ["y"], "y": [1], "hidden": [2]})
    text = Modality("text", "text", ("a", "b"))
    with pytest.raises(ConfigError, match="hidden"):
        make_schema(frame, [text], "y", "classification", {})
    with pytest.raises(ConfigError, match=r"used twice: \['y'\]"):
        make_schema(frame, [text, Modality("m", "tabular", ("a", "y"))], "y", "classification", {"hidden": "why"})
    schema = make_schema(frame, [text], "y", "classification", {"hidden": "why", "unused": "why"}, {"hidden": "number"})
    assert schema.ignored == {"hidden": "why"}
    assert schema.types == {}


def test_rows_without_the_target_are_dropped_and_unknown_targets_refused() -> None:
    frame = pd.DataFrame({"a": ["x", "y", "z"], "y": ["p", None, "q"]})
    schema = make_schema(frame, [Modality("text", "text", ("a",))], "y", "classification", {})
    rows, _ = Loaded(frame, {"y": schema}).of("y")
    assert rows["a"].tolist() == ["x", "z"]
    assert rows.index.tolist() == [0, 1]
    with pytest.raises(ConfigError, match="unknown target 'z': known: y"):
        Loaded(frame, {"y": schema}).of("z")


def test_members_of_an_archive() -> None:
    assert in_archive(Path("/d/i.zip"), ["a b.jpg"]) == ["zip:///d/i.zip!a b.jpg"]


@pytest.mark.parametrize(
    ("body", "text", "code"),
    [
        ("no code", "no code", None),
        ("a\n```py\nx = 1\n```\nb", "a\n\nb", "x = 1"),
        ("```\none\n```\nmid\n~~~\ntwo\n~~~", "mid", "one\ntwo"),
        ("- item\n  ```\n  x\n  ```\n", "- item", "x"),
        ("never closed\n```\nrest\nof it", "never closed", "rest\nof it"),
        ("````\n```\ninner\n```\n````\nafter", "after", "```\ninner\n```"),
        ("inline ```x``` stays", "inline ```x``` stays", None),
        ("empty\n```\n\n```", "empty", None),
        ("a\r\n```\r\nx\r\n```\r\nb", "a\r\n\r\nb", "x"),
    ],
)
def test_code_blocks_are_cut_out(body: str, text: str, code: str | None) -> None:
    found = cut_code(body)
    assert found[1] == code
    assert found[0].replace("\r", "").replace("\n", "") == text.replace("\r", "").replace("\n", "")


def test_cutting_a_long_hostile_body_is_linear() -> None:
    assert cut_code("```\n" * 20001)[1] is None
    assert cut_code("`" * 200000)[1] is None


def test_rare_genres_and_what_is_no_genre_are_dropped() -> None:
    genres = pd.Series(["A|B"] * 20 + ["A|Rare", "IMAX", "(no genres listed)", "Rare"])
    found = common_genres(genres)
    assert found.tolist()[:21] == ["A|B"] * 20 + ["A"]
    assert found.isna().tolist() == [False] * 21 + [True] * 3


def test_no_genre_is_common_among_the_films_that_are_left() -> None:
    genres = pd.Series(["A"] * 6 + ["B"] * 3 + ["C|B", "C", *"DEFGH"])  # without A, B is on 4 of 10
    kept = without_commonest(genres, 0.3)
    shares = kept.str.get_dummies().mean() / kept.notna().mean()
    assert shares.max() <= 0.3
    assert set(shares.index) == set("CDEFGH")
    assert without_commonest(pd.Series(["A", "A"]), 0.3).isna().all()


def test_gender_becomes_a_share() -> None:
    found = male_percent(pd.Series(["87.5:12.5", "50:50", "50.0:50.0", "Genderless"]))
    assert found.tolist()[:3] == [87.5, 50.0, 50.0]
    assert np.isnan(found[3])


def test_numbers_of_the_game_get_names() -> None:
    found = named(pd.Series([4.0, np.nan, 777.0]), "cardClass")
    assert found[0] == "MAGE"
    assert pd.isna(found[1])
    assert found[2] == "cardClass_777"


def test_markup_goes_and_numbers_stay() -> None:
    found = plain(pd.Series(['[x]<b>Taunt</b>\nDeal\n$3 or #4_damage, 5$. <i x="y">So</i>', "<b></b>", None]))
    assert found[0] == "Taunt Deal 3 or 4 damage, 5$. So"
    assert found[1] is None
    assert found[2] is None


CARDS = """<?xml version="1.0" encoding="utf-8"?>
<CardDefs build="1">
<Entity CardID="A_1" ID="1">
  <Tag enumID="185" name="CARDNAME" type="LocString"><deDE>Feuer</deDE><enUS>Fire &amp; Ice</enUS></Tag>
  <Tag enumID="184" name="CARDTEXT" type="LocString"><enUS>&lt;b&gt;Burn&lt;/b&gt;</enUS></Tag>
  <Tag enumID="199" name="CLASS" type="Int" value="4"/><Tag enumID="202" name="CARDTYPE" type="Int" value="5"/>
  <Tag enumID="183" name="CARD_SET" type="Int" value="{}"/><Tag enumID="48" name="COST" type="Int" value="2"/>
  <Tag enumID="321" name="COLLECTIBLE" type="Int" value="1"/>
</Entity>
<Entity CardID="A_2" ID="2"><Tag enumID="183" name="CARD_SET" type="Int" value="3"/></Entity>
{}</CardDefs>"""


def cards(tmp_path: Path, first_set: int = 3, more: str = "") -> Path:
    (tmp_path / "CardDefs.xml").write_text(CARDS.format(first_set, more))
    return tmp_path


def test_cards_are_read_in_english_and_only_collectible_ones(tmp_path: Path) -> None:
    frame = registry.find("datasets", "hearthstone_cards")().load(cards(tmp_path)).frame
    assert len(frame) == 1
    row = frame.iloc[0]
    assert (row["name"], row["text"], row["flavor"]) == ("Fire & Ice", "Burn", None)
    assert (row["cardClass"], row["cardType"], row["set"], row["cost"], row["elite"]) == (
        "MAGE",
        "SPELL",
        "EXPERT1",
        2,
        False,
    )


def test_a_reprinted_card_stays_in_its_first_set(tmp_path: Path) -> None:
    entity = CARDS.split('<CardDefs build="1">')[1].split("</Entity>")[0].format(27) + "</Entity>"
    frame = registry.find("datasets", "hearthstone_cards")().load(cards(tmp_path, 1637, entity)).frame
    assert frame["set"].tolist() == ["UNGORO"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><CardDefs>&a;</CardDefs>', "expected <CardDefs>"),
        ("<html></html>", "expected <CardDefs>"),
        ("", "expected <CardDefs>"),
        ("<CardDefs></CardDefs>", "no collectible card"),
        ("<CardDefs><Entity></CardDefs>", "not valid XML"),
        ("<CardDefs><Entity>", "not valid XML"),
    ],
)
def test_a_broken_card_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "CardDefs.xml"
    path.write_text(content)
    with pytest.raises(TableError, match=message):
        read_cards(path)


def test_cards_without_the_package_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "hearthstone_data", None)
    with pytest.raises(MissingDependencyError, match=r"plait\[demo\]"):
        registry.find("datasets", "hearthstone_cards")().load()


def test_the_packaged_cards() -> None:
    pytest.importorskip("hearthstone_data")
    found = registry.find("datasets", "hearthstone_cards")().load()
    check("hearthstone_cards", found)
    assert len(found.frame) > 5000
    assert found.frame["name"].is_unique
    assert not found.frame["text"].str.contains(r"</?[bi]>|\[x\]|\n", na=False).any()
    rows, schema = found.of("cardClass")
    assert rows["cardClass"].nunique() == 12
    assert {"MAGE", "NEUTRAL", "DEATHKNIGHT"} <= set(rows["cardClass"])
    assert [m.name for m in schema.modalities] == ["text", "flavor", "tabular"]
    numbered = {c: found.frame[c].dropna().str.contains(r"_\d+$").mean() for c in ("cardClass", "race", "cardType")}
    assert all(share < 0.02 for share in numbered.values()), numbered


#: Tried on tiny made files of their published layout, in ``test_datasets_published.py``.
PUBLISHED = {"cifar10_binary", "cifar100", "coco_captions", "flickr8k_full", "qqp", "tiny_imagenet"}


def test_the_real_ones_are_all_listed() -> None:
    published = {"mm_imdb", "av_mnist", "esc50", "cmu_mosi", "cmu_mosei", "mug", "muldic"} | PUBLISHED
    assert set(FACTS) | {"hearthstone_cards", "multabench"} | published == set(NAMES)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_real_data_keep_the_contract(name: str, data_root: Path) -> None:
    if name == "cifar10":
        pytest.importorskip("pyarrow")
    found = loaded(name, data_root)
    check(name, found)
    for target, (count, classes) in FACTS[name].items():
        rows, schema = found.of(target)
        assert len(rows) == count
        if classes is not None:
            assert rows[str(schema.target)].nunique() == classes


@pytest.mark.parametrize("name", sorted(FACTS))
def test_real_schemas_validate(name: str, data_root: Path) -> None:
    if name == "cifar10":
        pytest.importorskip("pyarrow")
    found = loaded(name, data_root)
    for target in found.schemas:
        rows, schema = found.of(target)
        plait_schema.validate(schema, rows.head(200))
        assert not plait_schema.absent(schema, rows.head(3), None)[:, 0].all()


@pytest.mark.parametrize("name", ["pokemon", "hearthstone", "movies", "flickr8k", "esc10"])
def test_every_cell_names_a_member(name: str, data_root: Path) -> None:
    found = loaded(name, data_root)
    column = "audio" if name == "esc10" else "image"
    archive, _, _ = found.frame[column].iloc[0].removeprefix("zip://").partition("!")
    with zipfile.ZipFile(archive) as opened:
        members = set(opened.namelist())
    assert {cell.partition("!")[2] for cell in found.frame[column]} <= members


def test_movies_hide_their_genre(data_root: Path) -> None:
    rows, _ = loaded("movies", data_root).of("genres")
    words = r"(?i)\b(?:comedy|drama|romance|thriller|horror|western|musical)\b"
    assert not rows["text"].str.contains(words).any()
    assert rows["genres"].str.split("|").explode().nunique() == 15


def test_mosi_targets_agree(data_root: Path) -> None:
    found = loaded("mosi", data_root)
    frame = found.frame
    assert (frame["binary"] == "positive").sum() == (frame["score"] > 0).sum()
    assert frame.loc[frame["score"] == 0, "binary"].isna().all()
    assert set(frame["seven"]) == {"-3", "-2", "-1", "+0", "+1", "+2", "+3"}
    assert (frame["seven"].astype(int) - frame["score"]).abs().max() <= 0.5
    assert frame["split"].value_counts().to_dict() == {"train": 1281, "test": 685, "valid": 229}
    assert frame.groupby("video")["split"].nunique().max() == 1
    assert np.stack(frame["audio"]).shape == (2195, 73)


def test_issues_lose_their_code(data_root: Path) -> None:
    frame = loaded("issues", data_root).frame
    assert 0.44 < frame["code"].notna().mean() <= 0.49
    assert not frame["body"].str.contains(r"^```", regex=True, na=False).any()


def test_esc10_folds_keep_recordings_together(data_root: Path) -> None:
    frame = loaded("esc10", data_root).frame
    assert frame["fold"].value_counts().tolist() == [80] * 5
    assert frame.groupby("recording")["fold"].nunique().max() == 1


PETS = {
    **{
        key: [1, 2]
        for key in ("Type", "Age", "Gender", "MaturitySize", "FurLength", "Quantity", "VideoAmt", "PhotoAmt")
    },
    **{key: [1, 2] for key in ("Vaccinated", "Dewormed", "Sterilized", "Health")},
    **{key: ["a", None] for key in ("Breed1", "Breed2", "Color1", "Color2", "Color3", "State", "Description")},
    "Name": ["Mali", None],
    "Fee": [0, 100],
    "RescuerID": ["r0", "r1"],
    "AdoptionSpeed": [3, 0],
}


def test_adverts_keep_their_writer_out_of_the_inputs_and_fee_is_an_amount(tmp_path: Path) -> None:
    (tmp_path / "petfinder").mkdir()
    pd.DataFrame(PETS).to_csv(tmp_path / "petfinder" / "petfinder.csv", index=False)
    found = registry.find("datasets", "petfinder")().load(tmp_path)
    check("petfinder", found)
    assert found.groups == "RescuerID"
    assert found.frame["speed"].tolist() == [3.0, 0.0]
    assert found.schemas["speed"].types["Fee"] == "number"
    assert found.schemas["speed"].types["Health"] == "category"


def test_games_and_payments_read_their_columns(tmp_path: Path) -> None:
    for folder in ("games", "payments"):
        (tmp_path / folder).mkdir()
    (tmp_path / "games" / "games.csv").write_text(
        "Name,Platform,Year,Genre,Publisher,Global_Sales\nA,Wii,2006,Sports,,82.74\nA,NES,1985,Platform,Nintendo,40.24\n"
    )
    found = registry.find("datasets", "games")().load(tmp_path)
    check("games", found)
    assert found.groups == "Name"  # one game on several platforms
    assert found.frame["Publisher"].isna().tolist() == [True, False]

    row = ["Pfizer", "No", None, "TOVIAZ", "Internal", "allowed"]
    pd.DataFrame([row], columns=[*PAYMENTS, "status"]).to_csv(tmp_path / "payments" / "payments.csv.gz", index=False)
    found = registry.find("datasets", "payments")().load(tmp_path)
    check("payments", found)
    assert set(found.schemas["status"].types.values()) == {"category"}


def test_digits_are_paired_by_class_and_part(data_root: Path) -> None:
    found = AvDigits(pairs=60, test_pairs=30, seed=3).load(data_root)
    frame = found.frame
    assert frame["split"].value_counts().to_dict() == {"train": 60, "test": 30}
    with np.load(data_root / "fsdd" / "fsdd.npz") as archive:
        offset, digit, index = archive["offset"], archive["digit"], archive["index"]
        wave = archive["wave"]
    with np.load(data_root / "mnist" / "mnist.npz") as archive:
        test = {image.tobytes(): int(label) for image, label in zip(archive["x_test"], archive["y_test"], strict=True)}
    takes = {wave[a:b].tobytes(): i for i, (a, b) in enumerate(itertools.pairwise(offset))}
    for row in frame.itertuples():
        sound, rate = row.audio
        take = takes[sound.tobytes()]
        assert rate == 8000
        assert str(digit[take]) == row.digit
        assert (index[take] < 5) == (row.split == "test")
        assert (row.image.tobytes() in test) == (row.split == "test")
        assert row.split == "train" or str(test[row.image.tobytes()]) == row.digit


def test_pairs_follow_the_seed(data_root: Path) -> None:
    first, again, other = (AvDigits(40, 0, seed).load(data_root).frame for seed in (1, 1, 2))
    assert first["digit"].tolist() == again["digit"].tolist()
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first["audio"], again["audio"], strict=True))
    assert first["digit"].tolist() != other["digit"].tolist()
    assert set(first["split"]) == {"train"}
    assert first["audio"].iloc[0][0].base is not None  # a view: pairs cost no memory


def test_pairs_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="pairs must be a whole number from 1, found 0"):
        AvDigits(pairs=0)


def test_the_base_is_abstract() -> None:
    with pytest.raises(TypeError, match="load"):
        Dataset()  # type: ignore[abstract]
