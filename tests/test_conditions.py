"""Conditions: the contract over the registry, formulas against naive loops, broken input, what the store sees."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from plait.base import registry
from plait.base.errors import CellError, ConfigError, PlaitWarning, TableError
from plait.cli import main
from plait.conditions.base import Condition
from plait.conditions.cells import column_of
from plait.conditions.noise import find_clips, mix, power
from plait.conditions.parse import Chain, parse
from plait.data.media import Blob
from plait.data.media.given import Changed, cell_key
from plait.data.media.images import image, pixels, video
from plait.data.media.sounds import audio, seconds
from plait.data.modality import Modality, Schema
from plait.encoders.batches import Encoding
from plait.encoders.embed import embed
from plait.encoders.logmel import LogMel
from plait.encoders.pixel_statistics import PixelStatistics
from plait.encoders.video_frames import VideoFrames
from plait.estimators.estimators import FusionClassifier
from plait.store import Store
from plait.testing.cells import check_condition

RNG = np.random.default_rng(0)
NAMES = registry.names("conditions")


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def wav(samples: np.ndarray, rate: int) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype="FLOAT")
    return stream.getvalue()


def tone(rate: int, hertz: float = 440.0, length: float = 0.25) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(rate * length)) / rate)).astype(np.float32)


COLOURS = RNG.integers(0, 256, (18, 24, 3), dtype=np.uint8)
DIGIT = np.zeros((28, 28), np.uint8)
DIGIT[6:22, 12:16] = 255
PICTURES: dict[str, Any] = {
    "array": COLOURS,
    "grey array": DIGIT,
    "bytes": png(COLOURS),
    "16 bit grey": png(DIGIT.astype(np.uint16) * 257),
    "transparent": png(np.dstack([COLOURS, COLOURS[..., 0]])),
    "jpeg": png(COLOURS, "JPEG"),
    "floats": COLOURS.astype(np.float32) / 255,
    "broken": b"\x89PNG but not really",
    "absent": None,
}
SOUNDS: dict[str, Any] = {
    "array": tone(16_000),
    "with rate": (tone(8_000), 8_000),
    "whole numbers": ((tone(8_000, 300) * 32767).astype(np.int16), 8_000),
    "stereo": wav(np.column_stack([tone(44_100), tone(44_100, 700)]), 44_100),
    "loud": tone(16_000, 200) * 3.3,
    "broken": b"RIFF but not really",
    "absent": None,
    "short": np.array([0.5, -0.5], np.float32),
    "long": tone(16_000, 100, 0.5),
}
N = len(PICTURES)


def example() -> tuple[pd.DataFrame, Schema]:
    """Rows of every kind, different ones, each with something absent."""
    texts = [None, *(f"row {i} tells of {i} light and honest things" for i in range(1, N))]
    codes = [*(f"def area_{i}(width):\n    return width * {i}\n" for i in range(1, N)), None]
    films: list[Any] = [RNG.integers(0, 256, (4, 12, 10, 3), dtype=np.uint8) for _ in range(N - 2)]
    vectors: list[Any] = [RNG.normal(size=3).astype(np.float32) for _ in range(N - 2)]
    frame = pd.DataFrame(
        {
            "picture": column_of(PICTURES.values()),
            "sound": column_of(SOUNDS.values()),
            "film": column_of([*films, b"no film", None]),
            "story": texts,
            "snippet": codes,
            "weight": [1.5, 2.5, None, 4.0, 5.0, 6.5, 7.0, 8.0, 9.5],
            "legs": [2, 4, 4, 6, 2, 8, 4, 2, 0],
            "material": ["wood", "iron", None, "wood", "iron", "stone", "wood", "wood", "iron"],
            "gaze": column_of([*vectors, RNG.normal(size=3).tolist(), None]),
            "label": list("aabbaabba"),
        },
        index=[7, 3, 5, 1, 0, 2, 4, 9, 8],
    )
    modalities = (
        Modality("photo", "image", ("picture",)),
        Modality("audio", "audio", ("sound",)),
        Modality("film", "video", ("film",)),
        Modality("story", "text", ("story",)),
        Modality("code", "code", ("snippet",)),
        Modality("facts", "tabular", ("weight", "legs", "material")),
        Modality("gaze", "vector", ("gaze",)),
    )
    types = {"weight": "number", "legs": "number", "material": "category"}
    return frame, Schema(modalities, "label", types=types)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for i in range(3):
        quiet = np.zeros(4000, np.float32)
        sound = np.random.default_rng(i).normal(0, 0.1, 3000).astype(np.float32)
        (folder / f"{i}.wav").write_bytes(wav(np.concatenate([quiet, sound]), 16_000))
    return folder


def made(name: str, clips: Path, **options: Any) -> Condition:
    told: dict[str, Any] = {"absent": {"rates": {"photo": 0.5, "facts": 0.4}}, "typos": {"strength": 0.2}}.get(name, {})
    extra = {"folder": str(clips)} if name == "background_noise" else {}
    found: Condition = registry.find("conditions", name)(**told | extra | options)
    return found


# The contract


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:condition")
def test_condition_contract(name: str, clips: Path) -> None:
    frame, schema = example()
    check_condition(made(name, clips), frame, schema)


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_survives_being_written_down(name: str, clips: Path) -> None:
    condition = made(name, clips, seed=3)
    assert parse(condition.to_dict()) == condition
    assert parse(condition.label) == condition
    json.dumps(condition.to_dict())
    assert condition.axes["kind"] == name
    assert set(condition.axes) == {"kind", "modality", "strength"}
    assert condition.at(0).idle
    assert condition.fingerprint() != made(name, clips, seed=4).fingerprint()
    assert condition.fingerprint() != condition.at(condition.strength / 2).fingerprint()


def test_check_condition_finds_noise_that_depends_on_the_place() -> None:
    class Placed(registry.find("conditions", "typos")):  # type: ignore[misc]
        seen = 0

        def changed(self, text: str, generator: np.random.Generator) -> str:
            type(self).seen += 1
            return f"{text} {self.seen}"

    frame, schema = example()
    with pytest.raises(AssertionError, match="other rows, their order"):
        check_condition(Placed(), frame, schema)


@pytest.mark.parametrize("name", NAMES)
def test_strengths_that_cannot_be_meant(name: str, clips: Path) -> None:
    for wrong in (-0.1, True, "much", None):
        with pytest.raises(ConfigError, match=f"condition {name}: strength must be a number from 0"):
            made(name, clips, strength=wrong)
    with pytest.raises(ConfigError, match=f"condition {name}: seed must be a whole number"):
        made(name, clips, seed=-1)


@pytest.mark.parametrize(
    "name", ["blur", "jpeg", "occlusion", "typos", "dropped_words", "swaps", "renamed_identifiers"]
)
def test_shares_end_at_one(name: str, clips: Path) -> None:
    with pytest.raises(ConfigError, match="from 0 to 1, found 1.5"):
        made(name, clips, strength=1.5)


def test_modalities_that_are_not_there() -> None:
    frame, schema = example()
    with pytest.raises(ConfigError, match="unknown modality 'foto'; did you mean 'photo'"):
        parse("blur:foto").apply(frame, schema)
    with pytest.raises(ConfigError, match="changes image, video; 'story' is text"):
        parse("blur:story").apply(frame, schema)
    with pytest.raises(ConfigError, match="changes code"):
        parse("renamed_identifiers").apply(frame[["story"]], Schema((Modality("story", "text", ("story",)),)))


def test_a_kind_names_all_its_modalities_and_a_name_only_one() -> None:
    frame = pd.DataFrame({"a": ["some words"], "b": ["some words"]})
    schema = Schema((Modality("a", "text", ("a",)), Modality("b", "text", ("b",))))
    for told, changed in (("text", {"a", "b"}), ("b", {"b"}), (None, {"a", "b"})):
        found = parse({"dropped_words": {"strength": 1, "modality": told}}).apply(frame, schema)
        assert {c for c in "ab" if found[c][0] != "some words"} == changed


def test_a_partial_table_and_a_wrong_one() -> None:
    frame, schema = example()
    found = parse("typos:0.5").apply(frame.drop(columns=["story", "picture"]), schema)
    assert "story" not in found
    with pytest.raises(TableError, match="'legs' of modality 'facts' is missing"):
        parse("jitter").apply(frame.drop(columns="legs"), schema)


# Parsing


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ("white_noise", {"white_noise": {"strength": 1.0}}),
        ("white_noise:image:snr_db=-3.5,seed=2", {"white_noise": {"modality": "image", "snr_db": -3.5, "seed": 2}}),
        ("white_noise:snr=inf", {"white_noise": {"snr": math.inf}}),
        ("blur:image:1e-2", {"blur": {"modality": "image", "strength": 0.01}}),
        ({"blur": 0.5}, {"blur": {"strength": 0.5}}),
        ({"blur": None}, {"blur": {"strength": 0.02}}),
        ({"absent": {"image": 0.5}}, {"absent": {"rates": {"image": 0.5}}}),
        ("absent:image=0.5,seed=1", {"absent": {"rates": {"image": 0.5}, "seed": 1}}),
        ("absent:image:0.5", {"absent": {"modality": "image", "strength": 0.5}}),
        ("{absent: {patterns: {image+text: 0.5, nothing: 0.1}}}", {"absent": {"patterns": {"image+text": 0.5, "nothing": 0.1}}}),
        ("background_noise:folder=/some where/x.zip", {"background_noise": {"strength": 1.0, "folder": "/some where/x.zip"}}),
        ("jpeg:quality=20", {"jpeg": {"quality": 20}}),
    ],
)  # fmt: skip
def test_parse(told: Any, options: Any) -> None:
    assert parse(told).to_dict() == options


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("white_nois:image", "unknown name 'white_nois' in conditions: did you mean 'white_noise'"),
        ("white_noise:image:snrdb=0", r"unknown field 'snrdb' \(did you mean 'snr_db'"),
        ({"white_noise": {"sed": 1}}, r"unknown field 'sed' \(did you mean 'seed'"),
        ("white_noise:image:snr_db", "'snr_db' is no option"),
        ("blur:0.1,strength=0.2", "'strength' is given twice"),
        ({"blur": [1]}, "expected its options or its strength"),
        ({"blur": True}, "expected its options or its strength"),
        (3, "found int"),
        ("", "no condition is named; known: absent"),
        ([], "no condition is named"),
        ({}, "no condition is named"),
        ("{blur: [}", "not valid YAML"),
        ("blur:image:strength=[", "not valid YAML"),
        ("absent:image=1.5", "rates of 'image' must be a number from 0 to 1, found 1.5"),
        ("absent:image=-0.1", "from 0 to 1"),
        ({"absent": {"image": "half"}}, "from 0 to 1, found 'half'"),
        ({"absent": {"patterns": {"image": 0.7, "text": 0.7}}}, "at most 1 together"),
        ({"absent": {"patterns": ["image"]}}, "patterns must be a mapping"),
        ({"absent": {"patterns": {"image": 1}, "text": 0.1}}, "rates and patterns are given; keep one"),
        ("white_noise:snr=-1", "snr must be a number from 0, found -1"),
        ("white_noise:snr_db=0,snr=1", "the only way that it is given"),
        ("white_noise:snr_db=0,strength=1", "snr_db and strength are given"),
        ({"white_noise": {"snr_db": math.nan}}, "snr_db must be a number"),
        ("white_noise:side=0", "side must be a whole number"),
        ("jpeg:quality=0", "quality must be a whole number from 1 to 100"),
        ("jpeg:quality=5,strength=0.1", "the only way"),
        ("occlusion:grey=2", "grey must be a number from 0 to 1"),
        ("renamed_identifiers:keep=abc", "keep must be a list"),
        ({"blur": {"modality": 3}}, "modality must be"),
    ],
)
def test_parse_refuses(told: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(told)


# Signal-to-noise ratios


def naive_power(values: np.ndarray) -> float:
    """Mean square about the mean, of every channel, added up number by number."""
    columns = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)
    total, count = 0.0, 0
    for c in range(columns.shape[1]):
        numbers = [float(v) for v in columns[:, c]]
        mean = sum(numbers) / len(numbers)
        total += sum((v - mean) ** 2 for v in numbers)
        count += len(numbers)
    return total / count


def test_power_is_the_naive_loop() -> None:
    for shape in ((7,), (4, 5, 3), (2, 4, 5, 3)):
        values = RNG.random(shape).astype(np.float32)
        assert power(values) == pytest.approx(naive_power(values), rel=1e-5)


@given(st.floats(-40, 40), st.integers(0, 2**32), st.sampled_from([(50,), (5, 6, 3), (2, 4, 4, 3)]))
@settings(max_examples=60, deadline=None)
def test_mix_has_the_ratio_that_was_asked_for(decibels: float, seed: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    signal, noise = rng.random(shape).astype(np.float32), rng.normal(size=shape).astype(np.float32)
    snr = 10 ** (decibels / 10)
    found = power(signal) / power(mix(signal, noise, 1 / math.sqrt(snr)) - signal)
    assert found == pytest.approx(snr, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_condition_is_told_in_the_same_ways(name: str) -> None:
    known = {part.to_dict()[name]["strength"]: part for part in [parse(f"{name}:story:strength=0.5")]}
    expected = known[0.5]
    for told in (
        f"{name}:story:0.5",
        f"{name}:story=0.5",
        {name: {"story": 0.5}},
        {name: {"modality": "story", "strength": 0.5}},
    ):
        condition = parse(told)
        assert (condition.axes["modality"], condition.axes["strength"]) == ("story", 0.5)
        if name != "absent":
            assert condition == expected
    both = parse(f"{name}:story=0.5,seed=3,photo=0.25")
    parts = getattr(both, "parts", (both,))
    assert {part.seed for part in parts} == {3}
    assert both.axes["modality"] in ("story + photo", "story+photo")
    assert both.axes["strength"] == 0.5
    assert parse(both.label) == both


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("typos:text=much", r"unknown field 'text' .*; write name:strength, name:modality=strength"),
        ("typos:modalty=text", "unknown field 'modalty' .did you mean 'modality'..; write name:strength"),
        ("white_noise:snr_bd=0", "did you mean 'snr_db'"),
        ("absent:patern=0.5", "did you mean 'patterns'"),
        ("typos=0.3", "has no ':' behind the condition's name; write name:strength, name:modality=strength"),
        ("typos:text:much", "'much' is no option; expected name:strength, name:modality=strength"),
        ("typos:text=2", "strength must be a number from 0 to 1, found 2"),
    ],
)
def test_what_has_not_the_form_is_told_the_form(told: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(told)


@pytest.mark.parametrize("decibels", [-20.0, -3.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("name", ["array", "grey array", "bytes", "16 bit grey", "transparent", "jpeg", "floats"])
def test_white_noise_on_pictures(name: str, decibels: float) -> None:
    cell = PICTURES[name]
    cell = Blob.of_bytes(cell) if isinstance(cell, bytes) else cell
    plain, noisy = pixels(cell), pixels(Changed(cell, parse({"white_noise": {"snr_db": decibels}})))
    assert noisy.dtype == np.float32
    assert noisy.shape == plain.shape
    assert naive_power(plain) / naive_power(noisy - plain) == pytest.approx(10 ** (decibels / 10), rel=1e-3)
    assert bool((noisy == noisy[..., :1]).all()) == (name in ("grey array", "16 bit grey"))


@pytest.mark.parametrize("decibels", [-20.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("name", ["array", "with rate", "whole numbers", "stereo", "loud"])
def test_white_noise_on_sounds(name: str, decibels: float) -> None:
    cell = SOUNDS[name]
    cell = Blob.of_bytes(cell) if isinstance(cell, bytes) else cell
    rate = {"with rate": 8_000, "whole numbers": 8_000, "stereo": 44_100}.get(name, 16_000)
    noisy = Changed(cell, parse({"white_noise": {"snr_db": decibels, "turn_down": True}}))
    plain, found = audio(cell, rate, 10.0), audio(noisy, rate, 10.0)
    assert found.shape == plain.shape
    level = audio(Changed(cell, parse({"white_noise": {"snr_db": decibels}})), rate, 10.0)  # not asked for: as it is
    assert naive_power(plain) / naive_power(level - plain) == pytest.approx(10 ** (decibels / 10), rel=2e-3)
    assert np.abs(found).max() <= max(1.0, float(np.abs(plain).max())) + 1e-6
    # Turned down as a whole: found = gain * (plain + noise). The gain is the ratio of what the two have in common.
    unit = audio(noisy_at(cell, math.inf), rate, 10.0)
    gain, _ = np.linalg.lstsq(
        np.column_stack([plain - plain.mean(), unit - unit.mean()]), found - found.mean(), rcond=None
    )[0]
    assert naive_power(plain) / naive_power(found / gain - plain) == pytest.approx(10 ** (decibels / 10), rel=2e-3)
    assert seconds(noisy) == seconds(cell)
    assert len(audio(noisy, 16_000, 0.1)) == 1600


def noisy_at(cell: Any, strength: float) -> Changed:
    return Changed(cell, parse({"white_noise": {"strength": strength}}))


def test_the_ratio_in_four_ways() -> None:
    ways = [{"strength": 2.0}, {"snr": 0.25}, {"amplitude_ratio": 0.5}, {"snr_db": 10 * math.log10(0.25)}]
    made = [parse({"white_noise": way}) for way in ways]
    assert [c.strength for c in made] == pytest.approx([2.0] * 4, rel=1e-12)
    assert len({c.fingerprint() for c in made[:3]}) == 1
    assert parse("white_noise:snr=1").fingerprint() == parse("white_noise:snr_db=0").fingerprint()
    assert parse("white_noise:snr=1").at(3.0).strength == 3.0


@pytest.mark.parametrize("told", ["snr=inf", "snr_db=inf", "amplitude_ratio=inf", "strength=0"])
def test_an_infinite_ratio_changes_nothing(told: str) -> None:
    frame, schema = example()
    found = parse(f"white_noise:{told}").apply(frame, schema)
    assert all(a is b for a, b in zip(found["picture"], frame["picture"], strict=True))


@pytest.mark.parametrize("told", ["snr=0", "snr_db=-inf", "amplitude_ratio=0", "strength=inf"])
def test_a_ratio_of_zero_leaves_noise_alone(told: str) -> None:
    condition = parse(f"white_noise:{told}")
    noise = pixels(Changed(COLOURS, condition))
    plain = pixels(COLOURS)
    assert power(noise) == pytest.approx(power(plain), rel=1e-4)
    np.testing.assert_allclose(noise.mean((0, 1)), plain.mean((0, 1)), atol=1e-5)
    assert abs(np.corrcoef(noise.ravel(), plain.ravel())[0, 1]) < 0.15
    assert condition.axes["strength"] == math.inf
    sound = audio(Changed(tone(16_000), condition), 16_000, 9.0)
    assert abs(np.corrcoef(sound, tone(16_000))[0, 1]) < 0.1


def test_noise_beyond_float32_is_finite() -> None:
    for decibels in (-200.0, -1e9):
        found = Changed(COLOURS, parse({"white_noise": {"snr_db": decibels}}))
        assert np.isfinite(pixels(found)).all()
        assert image(found).std() > 20
        assert np.isfinite(audio(Changed(tone(8_000), found.change), 16_000, 9.0)).all()


def test_what_has_no_ratio_stays_as_it_is() -> None:
    condition = parse("white_noise:snr_db=0")
    one_colour = np.full((6, 5, 3), (200, 30, 90), np.uint8)
    for picture in (one_colour, np.zeros((4, 4), np.uint8), np.full((1, 1, 3), 9, np.uint8)):
        np.testing.assert_array_equal(image(Changed(picture, condition)), image(picture))
    for sound in (np.zeros(500, np.float32), np.full(500, 0.25, np.float32), np.array([0.5], np.float32)):
        np.testing.assert_array_equal(audio(Changed(sound, condition), 16_000, 9.0), sound)


def test_a_picture_that_leaves_the_range_is_narrowed_as_a_whole() -> None:
    noisy = noisy_at(DIGIT, 4.0)
    exact, eight = pixels(noisy)[..., 0], image(noisy)[..., 0].astype(float)
    assert exact.min() < -0.5
    assert exact.max() > 1.5
    assert (eight.min(), eight.max()) == (0, 255)
    slope, offset = np.polyfit(exact.ravel(), eight.ravel(), 1)
    np.testing.assert_allclose(eight, slope * exact + offset, atol=0.6)


def test_more_noise_is_the_same_noise() -> None:
    weak, strong = (pixels(noisy_at(COLOURS, s)) - pixels(COLOURS) for s in (0.5, 2.0))
    np.testing.assert_allclose(4 * weak, strong, atol=1e-5)
    other = pixels(Changed(COLOURS, parse({"white_noise": {"strength": 0.5, "seed": 1}}))) - pixels(COLOURS)
    assert abs(np.corrcoef(weak.ravel(), other.ravel())[0, 1]) < 0.15


def test_side_scales_large_pictures_down_first() -> None:
    large = np.kron(COLOURS, np.ones((10, 10, 1), np.uint8))
    found = pixels(Changed(large, parse("white_noise:side=18,snr_db=0")))
    assert found.shape == (18, 24, 3)
    assert power(COLOURS / np.float32(255)) / power(found - COLOURS / np.float32(255)) == pytest.approx(1, rel=1e-3)
    assert pixels(Changed(DIGIT, parse("white_noise:side=64"))).shape == (28, 28, 3)


def test_film_frames_have_one_ratio_and_noise_of_their_own() -> None:
    film = RNG.integers(60, 190, (6, 8, 9, 3), dtype=np.uint8)
    noisy = video(Changed(film, parse("white_noise:snr_db=6")), 3).astype(float)
    assert noisy.shape == (3, 8, 9, 3)
    errors = noisy - video(film, 3)
    assert np.abs(np.corrcoef(errors.reshape(3, -1))[np.triu_indices(3, 1)]).max() < 0.25
    covered = (video(Changed(film, parse("occlusion:0.25")), 3) == 128).all(-1)
    assert covered[0].any()
    np.testing.assert_array_equal(covered[0], covered[2])


# Where content lies, what is read when, what the store sees


def test_the_same_content_gets_the_same_noise_wherever_it_lies(tmp_path: Path) -> None:
    content = png(COLOURS)
    (tmp_path / "a.png").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/b.png", content)
    frame = pd.DataFrame({"picture": column_of(["a.png", "a.zip!deep/b.png", content])})
    schema = Schema((Modality("image", "image", ("picture",)),))
    found = parse("white_noise:snr_db=3").apply(frame, schema, str(tmp_path))["picture"]
    assert len({cell_key(cell) for cell in found}) == 1
    assert len({image(cell).tobytes() for cell in found}) == 1
    assert {cell.path for cell in found} == {str(tmp_path / "a.png"), str(tmp_path / "a.zip"), None}


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(png(COLOURS + np.uint8(i)))
    frame = pd.DataFrame({"picture": [f"{i % 4}.png" for i in range(2000)]})
    schema = Schema((Modality("image", "image", ("picture",)),), root=str(tmp_path))
    opened: list[Blob] = []
    monkeypatch.setattr(Blob, "open", lambda blob: opened.append(blob))
    found = parse("white_noise:snr_db=0 + jpeg:quality=30").apply(frame, schema)["picture"]
    assert not opened
    assert all(isinstance(cell, Changed) and isinstance(cell.origin, Changed) for cell in found)


@pytest.mark.parametrize(("kind", "encoder"), [("image", PixelStatistics()), ("audio", LogMel())])
def test_the_store_keeps_changed_cells_apart_and_encodes_them_once(
    kind: str, encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = PICTURES if kind == "image" else SOUNDS
    frame = pd.DataFrame({"x": column_of(c for name, c in cells.items() if name != "broken")})
    schema = Schema((Modality("x", kind, ("x",)),))
    seen: list[int] = []
    run = Encoding.run
    monkeypatch.setattr(Encoding, "run", lambda self: (seen.append(len(self.cells)), run(self)))
    with Store(tmp_path / "store") as store:
        results = []
        for told in ("white_noise:snr_db=0", "white_noise:snr_db=0", "white_noise:snr_db=10", "white_noise:snr=1"):
            found = parse(told).apply(frame.sample(frac=1, random_state=len(results)), schema).sort_index()
            results.append(embed(encoder, list(found["x"]), store, name="x"))
    assert seen == [len(frame) - 1] * 2  # None is absent; the second and the fourth were known
    np.testing.assert_array_equal(results[0].x, results[1].x)
    np.testing.assert_array_equal(results[0].x, results[3].x)
    assert not np.array_equal(results[0].x, results[2].x)


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_an_unreadable_cell_has_the_same_message(kind: str, tmp_path: Path) -> None:
    (tmp_path / "broken.bin").write_bytes(b"this is nothing that can be decoded")
    encoders: Mapping[str, Any] = {
        "image": PixelStatistics(),
        "audio": LogMel(),
        "video": VideoFrames(frames=2, image_encoder="pixel_statistics"),
    }
    messages = []
    for cell in (Blob.of_file(tmp_path / "broken.bin"), Blob.of_file(tmp_path / "gone.bin")):
        for told in (cell, Changed(cell, parse("white_noise:snr_db=0"))):
            with pytest.raises(CellError) as caught:
                embed(encoders[kind], [told], None, name="x", strict=True)
            messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[2] == messages[3]
    assert "no such file" in messages[3]


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(COLOURS))
    cell = Changed(Blob.of_file(file), parse("white_noise:snr_db=0"))

    class Slow(PixelStatistics):
        def prepare(self, cells: Any) -> dict[str, np.ndarray]:
            found = super().prepare(cells)
            file.write_bytes(png(COLOURS[::-1].copy()))
            return found

    with pytest.raises(CellError, match="changed while it was read"):
        embed(Slow(), [cell], None, name="x", strict=True)


def test_missing_files_stay_absent_and_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(COLOURS))
    frame = pd.DataFrame({"picture": ["a.png", "lost.png", None]})
    schema = Schema((Modality("image", "image", ("picture",)),), root=str(tmp_path))
    with pytest.warns(PlaitWarning, match="1 of 2 files are not there"):
        found = parse("blur").apply(frame, schema)["picture"]
    assert [cell is None for cell in found] == [False, True, True]


def test_changed_cells_print_their_content() -> None:
    long = np.zeros((5000, 2), np.float32)
    other = long.copy()
    other[2500] = 1
    first, second = (Changed(cell, parse("white_noise:snr_db=0")) for cell in (long, other))
    assert repr(first) != repr(second)
    assert repr(first) == repr(Changed(long.copy(), parse("white_noise:snr_db=0")))
    assert "gone.wav" in repr(Changed(Blob.of_file("gone.wav"), parse("white_noise:snr_db=0")))


def test_what_is_set_later_does_not_reach_the_cells() -> None:
    frame, schema = example()
    condition = parse("white_noise:photo:snr_db=0")
    found = condition.apply(frame, schema)["picture"].iloc[0]
    before = found.digest()
    condition.strength = 9.0
    assert found.digest() == before


# Background noise


def test_background_noise_has_the_ratio_and_a_clip(clips: Path) -> None:
    sound = tone(16_000, 440, 1.0)
    noise = {
        db: audio(Changed(sound, parse({"background_noise": {"folder": str(clips), "snr_db": db}})), 16_000, 9.0)
        - sound
        for db in (6.0, 20.0)
    }
    for decibels, found in noise.items():
        assert power(sound) / power(found) == pytest.approx(10 ** (decibels / 10), rel=1e-3)
    np.testing.assert_allclose(noise[6.0] / noise[6.0].std(), noise[20.0] / noise[20.0].std(), atol=2e-4)
    drawn = [np.random.default_rng(i).normal(0, 0.1, 3000).astype(np.float32)[:1000] for i in range(3)]
    matches = [np.abs(np.correlate(noise[6.0], d - d.mean())).max() / np.linalg.norm(d) for d in drawn]
    assert max(matches) > 10 * sorted(matches)[1] / 5


def test_clips_are_known_by_content(clips: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for i, file in enumerate(sorted(clips.iterdir(), reverse=True)):
            archive.writestr(f"other/{i}.wav", file.read_bytes())
    one, two = (parse({"background_noise": {"folder": str(f)}}) for f in (clips, tmp_path / "packed.zip"))
    assert one.fingerprint() == two.fingerprint()
    sounds = [audio(Changed(tone(8_000), c), 8_000, 9.0) for c in (one, two)]
    np.testing.assert_array_equal(*sounds)


def test_clips_that_go_while_they_are_looked_for(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TableError, match="there is no folder"):
        find_clips(tmp_path / "nowhere", "")

    def gone(place: Path, pattern: str) -> Iterator[Path]:
        yield from sorted(clips.iterdir())
        raise FileNotFoundError(2, "No such file or directory", str(clips / "below"))

    monkeypatch.setattr(Path, "rglob", gone)
    with pytest.raises(TableError, match="cannot be listed .*below"):
        find_clips(clips, "")


def test_clips_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Changed(tone(16_000), parse({"background_noise": {"folder": str(tmp_path)}}))
    with pytest.raises(TableError, match="holds no sound"):
        audio(sound, 16_000, 9.0)
    silent = tmp_path / "silent"
    silent.mkdir()
    (silent / "a.wav").write_bytes(wav(np.zeros(100, np.float32), 8_000))
    (silent / "b.wav").write_bytes(b"broken")
    sound = Changed(tone(16_000), parse({"background_noise": {"folder": str(silent)}}))
    with pytest.raises(TableError, match="all are silent or cannot be read"):
        audio(sound, 16_000, 9.0)
    monkeypatch.delenv("PLAIT_DATA", raising=False)
    frame = pd.DataFrame({"x": column_of([tone(8_000)])})
    with pytest.raises(TableError, match="PLAIT_DATA"):
        parse("background_noise").apply(frame, Schema((Modality("x", "audio", ("x",)),)))


# Pictures


def test_blur_is_the_naive_sum() -> None:
    picture = RNG.random((6, 5, 3)).astype(np.float32)
    sigma = 0.2 * 5
    radius = int(3.0 * sigma + 0.5)
    weights = {d: math.exp(-0.5 * (d / sigma) ** 2) for d in range(-radius, radius + 1)}
    total = sum(weights.values())
    expected = np.zeros_like(picture)
    for y in range(6):
        for x in range(5):
            for dy, wy in weights.items():
                for dx, wx in weights.items():
                    at = picture[min(5, max(0, y + dy)), min(4, max(0, x + dx))]
                    expected[y, x] += wy * wx / total**2 * at
    found = parse("blur:0.2").changed(picture, None, None)  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@given(st.floats(0.01, 1), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_occlusion_covers_one_box_of_that_area(strength: float, height: int, width: int, seed: int) -> None:
    picture = np.ones((height, width, 3), np.float32)
    found = parse({"occlusion": strength}).changed(picture, np.random.default_rng(seed), None)  # type: ignore[attr-defined]
    covered = (found == 0.5).all(-1)
    rows, columns = covered.any(1).sum(), covered.any(0).sum()
    assert covered.sum() == rows * columns
    assert abs(rows - height * math.sqrt(strength)) <= 1
    assert abs(columns - width * math.sqrt(strength)) <= 1
    assert picture.min() == 1


def test_jpeg_is_pillows_and_worse_at_lower_quality() -> None:
    smooth = np.asarray(Image.fromarray(COLOURS).resize((64, 48), Image.Resampling.BICUBIC))
    stream = io.BytesIO()
    Image.fromarray(smooth).save(stream, "JPEG", quality=15)
    np.testing.assert_array_equal(image(Changed(smooth, parse("jpeg:quality=15"))), np.asarray(Image.open(stream)))
    errors = [np.abs(image(Changed(smooth, parse(f"jpeg:{s}"))).astype(int) - smooth).mean() for s in (0.2, 0.6, 1.0)]
    assert errors == sorted(errors)
    assert errors[0] < errors[2] / 2


# Texts and code


@given(st.text(min_size=1), st.floats(0, 1), st.sampled_from(["typos", "dropped_words"]), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_a_text_never_becomes_nothing(text: str, strength: float, name: str, seed: int) -> None:
    frame = pd.DataFrame({"t": [text, text]})
    condition = parse({name: {"strength": strength, "seed": seed}})
    found = condition.apply(frame, Schema((Modality("t", "text", ("t",)),)))["t"]
    assert found[0] == found[1]
    assert bool(found[0].strip()) == bool(text.strip())


def test_typos_hit_as_many_letters_as_asked() -> None:
    text = "ab cd" * 4000
    plain = parse("typos:0.0001").changed("untouched", np.random.default_rng(0))  # type: ignore[attr-defined]
    assert plain == "untouched"
    found = parse("typos:0.1").changed(text, np.random.default_rng(0))  # type: ignore[attr-defined]
    # a quarter of the hits shortens, a quarter lengthens by one
    assert abs(len(found) - len(text)) < 120
    other = parse("typos:0.1").changed("x" * 20_000, np.random.default_rng(1))  # type: ignore[attr-defined]
    beside = sum(letter != "x" for letter in other)
    assert beside == pytest.approx(20_000 * 0.1 / 4, rel=0.15)
    assert set(other) <= set("xzcsd")


def test_dropped_words_is_the_naive_choice() -> None:
    words = [f"w{i}" for i in range(3000)]
    found = parse("dropped_words:0.3").changed(" ".join(words), np.random.default_rng(5))  # type: ignore[attr-defined]
    drawn = np.random.default_rng(5).random(3000)
    assert found.split() == [w for w, u in zip(words, drawn, strict=True) if u >= 0.3]
    assert parse("dropped_words:1").changed("a b c", np.random.default_rng(0)) in "abc"  # type: ignore[attr-defined]
    kept = parse("dropped_words:0.5").changed("a\nb\nc\nd", np.random.default_rng(5))  # type: ignore[attr-defined]
    assert "\n" in kept


def renamed(code: str, **options: Any) -> str:
    found: str = parse({"renamed_identifiers": options}).changed(code, np.random.default_rng(0))  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(w):\n    # w of f\n    return w if w else 'w'", "def v1(v2):\n    # w of f\n    return v2 if v2 else 'w'"),
        ("class A:\n    def __init__(self, x):\n        self.x = x", "class v1:\n    def __init__(v2, v3):\n        v2.v3 = v3"),
        ("v1 = v2 + other", "v3 = v4 + v5"),
        ("match = 1; match.x = None", "match = 1; match.v1 = None"),
        ("function f(w) { /* w */ return w * 'w' + `w`; } // w", "function v1(v2) { /* w */ return v2 * 'w' + `w`; } // w"),
        ('#include <x.h>\nint f(void) { p("x\\"x"); x = 0x1Fu; }', '#include <x.h>\nint v1(void) { v2("x\\"x"); v3 = 0x1Fu; }'),
        ("SELECT name FROM users WHERE name = 'x'", "SELECT v1 FROM v2 WHERE v1 = 'x'"),
        ("for (größe of 列表) { größe += 1 }", "for (v1 of v2) { v1 += 1 }"),
        ("x = 1\r\ny = x\r\n", "v1 = 1\r\nv2 = v1\r\n"),
        ("1 + 2", "1 + 2"),
    ],
)  # fmt: skip
def test_renamed_identifiers(code: str, expected: str) -> None:
    assert renamed(code) == expected


def test_names_that_stay_and_shares_of_names() -> None:
    code = "np.dot(alpha, beta) + gamma * delta - alpha"
    assert renamed(code, keep=["np", "dot"]) == "np.dot(v1, v2) + v3 * v4 - v1"
    half, most = renamed(code, strength=0.4), renamed(code, strength=0.9)
    changed = {w for w in half.replace("(", " ").replace(")", " ").split() if w.startswith("v")}
    assert changed
    assert changed <= set(most.replace("(", " ").replace(")", " ").split())


@given(st.text(alphabet="abv1 _=+()[]{}.,:\n\t\"'#/*\\é", max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_code_can_be_read(code: str) -> None:
    assert len(renamed(code).split("\n")) == len(code.split("\n"))


# Numbers


def numbers_table(n: int = 4000) -> tuple[pd.DataFrame, Schema]:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "height": rng.normal(10, 2.5, n),
            "legs": rng.integers(0, 9, n),
            "price": [f"{v:.2f}".replace(".", ",") for v in rng.normal(20, 4, n)],
            "material": rng.choice(["wood", "iron"], n),
            "glass": rng.random(n) < 0.5,
        }
    )
    types = {"height": "number", "legs": "number", "price": "number", "material": "category", "glass": "boolean"}
    return frame, Schema((Modality("facts", "tabular", tuple(frame.columns)),), types=types)


def test_jitter_has_the_deviation_of_the_training_column() -> None:
    frame, schema = numbers_table()
    condition = parse("jitter:0.5").fit(frame, schema)
    new = condition.apply(frame, schema)
    for column in ("height", "legs"):
        moved = new[column] - frame[column]
        assert moved.std() == pytest.approx(0.5 * frame[column].std(), rel=0.05)
        assert abs(moved.mean()) < 0.1 * frame[column].std()
    read = lambda s: s.str.replace(",", ".").astype(float)  # noqa: E731
    assert (read(new["price"]) - read(frame["price"])).std() == pytest.approx(0.5 * 4, rel=0.05)
    assert list(new["material"]) == list(frame["material"])
    assert list(new["glass"]) == list(frame["glass"])
    few = condition.apply(frame.iloc[[17]], schema)
    assert few["height"].iloc[0] == new["height"].iloc[17]  # the training rows' deviation, not that of one row
    stronger = condition.at(1.0).apply(frame, schema)
    np.testing.assert_allclose(stronger["height"] - frame["height"], 2 * (new["height"] - frame["height"]))


def test_equal_numbers_in_different_rows_get_different_jitter() -> None:
    frame, schema = numbers_table(200)
    new = parse("jitter:0.5").fit(frame, schema).apply(frame, schema)
    assert new["legs"].nunique() == 200


def test_what_is_no_number_stays() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan, np.inf, 3.0], "y": ["1", "NA", "about 2", "4"], "z": [5, 5, 5, 5]})
    schema = Schema((Modality("t", "tabular", ("x", "y", "z")),), types=dict.fromkeys("xyz", "number"))
    new = parse("jitter").fit(frame, schema).apply(frame, schema)
    assert np.isnan(new["x"][1])
    assert new["x"][2] == np.inf
    assert list(new["y"][1:3]) == ["NA", "about 2"]
    assert new["y"][0] != "1"
    assert list(new["z"]) == [5, 5, 5, 5]


def test_swaps_take_from_the_training_column() -> None:
    frame, schema = numbers_table()
    condition = parse("swaps:0.3").fit(frame.iloc[:2000], schema)
    new = condition.apply(frame, schema)
    share = (new["height"] != frame["height"]).mean()
    assert share == pytest.approx(0.3, abs=0.03)
    assert set(new["height"][new["height"] != frame["height"]]) <= set(frame["height"][:2000])
    assert set(new["material"]) == {"wood", "iron"}
    assert list(new.dtypes) == list(frame.dtypes)
    shuffled = parse("swaps:0.3").fit(frame.iloc[:2000].sample(frac=1, random_state=0), schema)
    pd.testing.assert_frame_equal(shuffled.apply(frame, schema), new)


def test_swaps_never_fill_what_is_empty_and_keep_fractions() -> None:
    training = pd.DataFrame({"x": [0.5, 1.5, None], "c": pd.Categorical(["a", "b", "b"])})
    frame = pd.DataFrame({"x": [1, 2, 3], "c": pd.Categorical(["z", None, "z"])})
    schema = Schema((Modality("t", "tabular", ("x", "c")),), types={"x": "number", "c": "category"})
    new = parse("swaps:1").fit(training, schema).apply(frame, schema)
    assert set(new["x"]) <= {0.5, 1.5}
    assert set(new["c"].dropna()) <= {"a", "b"}
    assert [pd.isna(c) for c in new["c"]] == [False, True, False]


@pytest.mark.parametrize("name", ["jitter", "swaps", "vector_noise"])
def test_without_training_rows_a_warning_says_what_is_taken(name: str) -> None:
    frame, schema = example()
    with pytest.warns(PlaitWarning, match="drawn after the 9 rows given, not after the training rows"):
        parse(name).apply(frame, schema)


def test_vector_noise_is_scaled_feature_by_feature() -> None:
    rng = np.random.default_rng(0)
    cells = [rng.normal(size=(int(rng.integers(1, 5)), 3)) * [1.0, 10.0, 0.0] for _ in range(1500)]
    frame = pd.DataFrame({"v": column_of(cells)})
    schema = Schema((Modality("v", "vector", ("v",)),))
    new = parse("vector_noise:0.5").fit(frame, schema).apply(frame, schema)["v"]
    errors = np.concatenate([n - c for n, c in zip(new, cells, strict=True)])
    np.testing.assert_allclose(errors.std(0), 0.5 * np.concatenate(cells).std(0), rtol=0.05)
    assert all(n.shape == c.shape for n, c in zip(new, cells, strict=True))
    other = pd.DataFrame({"v": column_of([np.zeros(4)])})
    with pytest.raises(TableError, match="width 4, expected 3"):
        parse("vector_noise").fit(frame, schema).apply(other, schema)


# Absence


def words_table(n: int = 3000) -> tuple[pd.DataFrame, Schema]:
    frame = pd.DataFrame({"t": [f"text {i}" for i in range(n)], "c": [f"x = {i}" for i in range(n)], "k": range(n)})
    modalities = (Modality("text", "text", ("t",)), Modality("code", "code", ("c",)), Modality("k", "tabular", ("k",)))
    return frame, Schema(modalities)


def gone(told: Any, n: int = 3000) -> pd.DataFrame:
    frame, schema = words_table(n)
    return parse(told).apply(frame, schema).isna()


def test_absent_at_rates() -> None:
    found = gone("absent:text=0.2,k=0.9")
    assert found["t"].mean() == pytest.approx(0.2, abs=0.03)
    assert found["k"].mean() == pytest.approx(0.9, abs=0.03)
    assert not found["c"].any()
    assert (found["t"] & found["k"]).mean() == pytest.approx(0.18, abs=0.03)  # independent
    more = gone("absent:text=0.5")
    assert (more["t"] | ~found["t"]).all()  # what lacks at 0.2 lacks at 0.5
    assert gone("absent:text")["t"].all()
    assert gone("absent:text:0.2")["t"].equals(found["t"])
    assert not gone("absent:text=0.2,seed=1")["t"].equals(found["t"])
    assert not gone("absent:text=0")["t"].any()
    assert gone("absent:0.5").mean().to_numpy() == pytest.approx(0.5, abs=0.04)


def test_absent_after_patterns() -> None:
    found = gone({"absent": {"patterns": {"text": 0.5, "code+k": 0.3, "nothing": 0.1}}})
    rows = found.apply(lambda r: "".join(c for c in "tck" if not r[c]), axis=1)
    shares = rows.value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"t": 0.5, "ck": 0.3, "": 0.1, "tck": 0.1}, abs=0.03)
    tenths = gone({"absent": {"patterns": {"text": 0.7, "code": 0.2, "k": 0.1}}}, 500)  # 0.7 + 0.2 + 0.1 < 1 in floats
    assert (tenths.sum(axis=1) == 2).all()


def test_absent_names_that_are_not_there() -> None:
    for told in ({"absent": {"txt": 0.5}}, {"absent": {"patterns": {"code+txt": 1}}}, "absent:txt"):
        with pytest.raises(ConfigError, match="condition absent: unknown modality 'txt'; did you mean 'text'"):
            gone(told, 3)


def test_absent_takes_cells_of_every_type() -> None:
    columns: dict[str, Any] = {
        "whole": [1, 2],
        "huge": [2**60 + 1, 2**60 + 3],
        "flag": [True, False],
        "date": pd.to_datetime(["2020-01-01", "2021-01-01"]),
        "kind": pd.Categorical(["a", "b"]),
        "word": pd.Series(["a", "b"], dtype="string"),
    }
    frame = pd.DataFrame(columns)
    schema = Schema((Modality("t", "tabular", tuple(frame)), Modality("u", "text", ("word2",))))
    frame["word2"] = ["x", "y"]
    seed = next(s for s in range(99) if parse(f"absent:t:0.5,seed={s}").apply(frame, schema)["whole"].isna().sum() == 1)
    found = parse(f"absent:t:0.5,seed={seed}").apply(frame, schema)
    kept = int(np.flatnonzero(found["whole"].notna())[0])
    assert found[list(columns)].isna().sum().tolist() == [1] * 6
    assert [found[c][kept] for c in columns] == [frame[c][kept] for c in columns]
    assert found["word2"].notna().all()


def test_which_rows_are_absent_does_not_depend_on_the_noise_before() -> None:
    frame, schema = example()
    patterns = [
        parse(f"white_noise:photo:{s} + absent:photo=0.5").apply(frame, schema)["picture"].isna().tolist()
        for s in (0, 0.5, 3)
    ]
    assert patterns[0] == patterns[1] == patterns[2]


def test_a_chain() -> None:
    frame, schema = example()
    chain = parse([{"white_noise": {"modality": "photo", "snr": 0.25}}, "white_noise:audio:snr=0.5", "absent:story=1"])
    assert isinstance(chain, Chain)
    found = chain.fit(frame, schema).apply(frame, schema)
    assert found["story"].isna().all()
    assert isinstance(found["picture"].iloc[0], Changed)
    assert isinstance(found["sound"].iloc[0], Changed)
    assert isinstance(found["film"].iloc[0], np.ndarray)
    assert chain.axes["modality"] == "photo + audio + story"
    assert [m.name for m in chain.targets(schema)] == ["photo", "audio", "story"]
    assert parse(chain.to_dict()) == chain
    assert parse(chain.label) == chain
    with pytest.raises(ConfigError, match="no strength of its own"):
        chain.at(0)


# Models


def things(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    warm = rng.integers(0, 2, n)
    dots = [(rng.random((12, 12, 3)) * 60 + ([150, 40, 40] if w else [40, 40, 150])).astype(np.uint8) for w in warm]
    words = [f"thing {i} {'fire' if w else 'ice'}" for i, w in enumerate(warm)]
    return pd.DataFrame({"picture": column_of(map(png, dots)), "words": words, "label": np.where(warm, "w", "c")})


SCHEMA = Schema((Modality("image", "image", ("picture",)), Modality("text", "text", ("words",))), "label")


@pytest.fixture(scope="module")
def model() -> FusionClassifier:
    encoders = {"image": "pixel_statistics", "text": "hashed_ngrams"}
    table = things(60, 0)
    noisy = parse("white_noise:image:snr_db=10").apply(table, SCHEMA)
    both = pd.concat([table, noisy], ignore_index=True)  # noise in training: rows that differ only by it stay apart
    found = FusionClassifier(modalities=SCHEMA, encoders=encoders, members=2, epochs=8, width=16, store="none")
    found.fit(both, both["label"])
    assert found.record_["distinct_rows"] == 120
    return found


def test_a_model_under_conditions(model: FusionClassifier) -> None:
    table = things(40, 1)
    plain = model.score(table, table["label"])
    assert plain > 0.9
    nothing = parse("absent").apply(table, SCHEMA)
    assert len(set(model.predict(nothing))) == 1
    drowned = parse("absent:text=1 + white_noise:image:snr=0").apply(table, SCHEMA)
    assert model.predict(drowned).shape == (40,)
    again = model.predict_proba(drowned.iloc[::-1])[::-1]
    np.testing.assert_allclose(model.predict_proba(drowned), again, atol=1e-6)


def test_evaluate_under_conditions(model: FusionClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model.save(tmp_path / "model")
    table = things(30, 2)
    for i, content in enumerate(table["picture"]):
        (tmp_path / f"{i}.png").write_bytes(content)
    table.assign(picture=[f"{i}.png" for i in range(30)]).to_csv(tmp_path / "t.csv", index=False)
    command = ["evaluate", str(folder), str(tmp_path / "t.csv"), "--no-subsets"]
    told = ["--condition", "absent:text=1,image=1", "--condition", "white_noise:image:snr=0 + dropped_words:0.5"]
    main_(command + told)
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if "with changed inputs" in line)
    assert lines[at + 1].split() == ["condition", "value", "low", "high", "difference"]
    assert lines[at + 2].startswith("absent:text=1,image=1 ")
    assert lines[at + 3].startswith("white_noise:image:snr=0 + dropped_words:strength=0.5 ")
    main_([*command, *told, "--json"])
    found = json.loads(capsys.readouterr().out)
    first, second = found["conditions"]
    plain = found["metrics"]["accuracy"]["value"]
    assert first["kind"] == "absent"
    assert first["value"] < plain
    assert first["difference"] == pytest.approx(first["value"] - plain)
    assert second["strength"] is None  # infinite
    assert main_([*command, "--condition", "blurr"]) == 2
    assert "did you mean 'blur'" in capsys.readouterr().err
    assert main_(["list", "conditions"]) == 0
    assert "white_noise" in capsys.readouterr().out


def main_(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


# Real data


def test_on_real_sounds(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_DATA", str(data_root))
    digits = registry.find("datasets", "av_digits")(pairs=12, test_pairs=0).load(data_root).of("digit")
    frame, schema = digits
    chain = parse("background_noise:audio:snr_db=0 + white_noise:image:amplitude_ratio=0.5")
    found = chain.apply(frame, schema)
    for cell, plain in zip(found["audio"], frame["audio"], strict=True):
        assert not np.array_equal(audio(cell, 8_000, 9.0), audio(plain, 8_000, 9.0))
    assert embed(LogMel(), list(found["audio"]), None, name="audio").mask.all()
    assert embed(PixelStatistics(), list(found["image"]), None, name="image").mask.all()


def test_on_real_clips_and_pictures(data_root: Path) -> None:
    for name, told, encoder in (
        ("esc10", "white_noise:audio:snr_db=0", LogMel()),
        ("pokemon", "white_noise:image:snr_db=0,side=64 + jpeg:quality=10 + occlusion:0.3", PixelStatistics()),
    ):
        loaded = registry.find("datasets", name)().load(data_root)
        schema = next(iter(loaded.schemas.values()))
        frame = loaded.frame.iloc[:6]
        modality = next(m for m in schema.modalities if m.kind in encoder.kinds)
        found = parse(told).apply(frame, schema)
        embedded = embed(encoder, list(found[modality.columns[0]]), None, name=modality.name)
        assert embedded.mask.all()
        assert np.isfinite(embedded.x).all()
