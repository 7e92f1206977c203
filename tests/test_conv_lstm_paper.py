"""The convolutional LSTM's paper to the letter: its protocol, its noise at the network's input, its figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from plait import FusionClassifier, papers
from plait.base import config
from plait.base.errors import ConfigError
from plait.base.inputs import Inputs, followed_by
from plait.conditions.parse import parse
from plait.data.media.given import Changed
from plait.data.modality import Modality, Schema
from plait.encoders.featurize import Featurizer
from plait.encoders.pixels import Pixels
from plait.encoders.spectrogram import Spectrogram
from plait.papers.early_fusion_conv_lstm import figures
from plait.study import Study

SCHEMA = Schema(
    (
        Modality("image", "image", ("image",), {"name": "pixels", "size": 6, "channels": 1}, "scratch"),
        Modality("audio", "audio", ("audio",), {"name": "spectrogram", "window": 64, "stride": 64}, "scratch"),
    )
)
NOISE = [
    {"white_noise": {"modality": "image", "amplitude_ratio": 0.5, "side": 6, "redraw": True}},
    {"white_noise": {"modality": "audio", "amplitude_ratio": 2, "redraw": True}},
]


def table(rows: int, seed: int = 0, longest: int = 700) -> pd.DataFrame:
    """Rows that share two pictures and three sounds; one row has no sound."""
    rng = np.random.default_rng(seed)
    pictures = [rng.integers(0, 255, (12, 12), dtype=np.uint8) for _ in range(2)]
    sounds = [(rng.normal(0, 0.1, n).astype(np.float32), 8000) for n in (300, 500, longest)]
    frame = pd.DataFrame(
        {"image": [pictures[i % 2] for i in range(rows)], "audio": [sounds[i % 3] for i in range(rows)]}
    )
    frame.loc[1, "audio"] = None
    return frame


def noisy(frame: pd.DataFrame) -> Inputs:
    features = Featurizer(SCHEMA)
    cells = parse(NOISE).apply(frame, SCHEMA)
    features.fit(cells, None)
    return features.transform(cells, None, None, strict=True, progress=False)


# -- noise -------------------------------------------------------------------------------------------------------------


def power(x: np.ndarray) -> float:
    """The naive mean square about the mean."""
    mean = sum(x.ravel().tolist()) / x.size
    return sum((v - mean) ** 2 for v in x.ravel().tolist()) / x.size


@pytest.mark.parametrize("ratio", [2.0, 0.5, 0.25])
def test_the_ratio_of_a_picture_is_that_of_what_enters_the_network(ratio: float) -> None:
    # Smooth, as digits are: scaling it down keeps its power, and would average the noise away.
    x, y = np.meshgrid(np.linspace(0, math.pi, 28), np.linspace(0, math.pi, 28))
    picture = (255 * np.sin(x) * np.sin(y)).astype(np.uint8)
    encoder = Pixels(size=14, channels=1)

    def entering(**more: Any) -> float:
        cell = Changed(picture, parse({"white_noise": {"amplitude_ratio": ratio, **more}}))
        plain = Changed(picture, parse({"white_noise": {"strength": 1e-6, **more}}))
        value, signal = (encoder.prepare([c])["pixels"][0, ..., 0].astype(float) for c in (cell, plain))
        return math.sqrt(power(signal) / power(value - signal))

    assert entering(side=14) == pytest.approx(ratio, rel=0.01)
    assert entering() > 1.8 * ratio  # of the whole picture: most of it is gone before the network sees it


@pytest.mark.parametrize("ratio", [2.0, 0.5, 0.25])
def test_the_ratio_of_a_sound_is_that_of_what_enters_the_network_and_nothing_is_turned_down(ratio: float) -> None:
    wave = (0.9 * np.sin(np.arange(3200) * 0.3)).astype(np.float32)
    noise = {"white_noise": {"amplitude_ratio": ratio}}
    encoder = Spectrogram(window=64, stride=64, scale="power").fit([(wave, 8000)])

    def heard(cell: Any) -> float:
        return float(encoder.prepare([cell])["spectrogram"].astype(float)[0, 1:-1].sum())

    signal = heard((wave, 8000))
    # The powers of signal and noise add up in the spectrum; a sound that is turned down loses its own.
    share = heard(Changed((wave, 8000), parse(noise))) / signal
    assert share == pytest.approx(1 + ratio**-2, rel=0.15)
    noise["white_noise"]["turn_down"] = True
    assert heard(Changed((wave, 8000), parse(noise))) / signal < 0.6 * share


def test_noise_is_drawn_anew_for_every_row_and_epoch() -> None:
    inputs = noisy(table(12))
    rows, generator = (
        torch.tensor([0, 6, 1, 3]),
        torch.Generator().manual_seed(0),
    )  # 0 and 6: the same picture, the same sound
    batch = inputs.take(rows)
    first, second = batch.redrawn(generator), batch.redrawn(generator)
    for name, array in (("image", "pixels"), ("audio", "spectrogram")):
        fixed, drawn, again = (x.prepared[name][array].float() for x in (batch, first, second))
        assert torch.equal(fixed[0], fixed[1])  # the repeatable noise follows from the content
        assert not torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], again[0])
        assert not torch.equal(drawn[0], fixed[0])
    assert not first.prepared["audio"]["mask"][2].any()  # absent stays absent
    assert torch.equal(first.prepared["audio"]["mask"].sum(1), batch.prepared["audio"]["mask"].sum(1))
    other = batch.redrawn(torch.Generator().manual_seed(0))
    assert torch.equal(
        other.prepared["image"]["pixels"], first.prepared["image"]["pixels"]
    )  # the same seed, the same noise


def test_only_what_asks_for_it_is_drawn_anew_and_only_in_its_own_part_of_a_chain() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (6, 6), dtype=np.uint8)
    chain = Changed(Changed(picture, parse("occlusion:0.2")), parse(NOISE[0]))
    assert chain.redraws
    assert not Changed(picture, parse("white_noise:1")).redraws
    black = Pixels(size=6, channels=1)

    def seen(seed: int) -> np.ndarray:
        return black.prepare([chain.redrawn(np.random.default_rng(seed))])["pixels"]

    assert not np.array_equal(seen(0), seen(1))
    assert parse(NOISE[0]).fingerprint() == parse("white_noise:amplitude_ratio=0.5,side=6").fingerprint()
    plain = Featurizer(SCHEMA)
    frame = parse("white_noise:1").apply(table(6), SCHEMA)
    plain.fit(frame, None)
    inputs = plain.transform(frame, None, None, strict=True, progress=False)
    assert inputs.redrawn(torch.Generator()).prepared["image"] is inputs.prepared["image"]


def test_rows_that_choose_follow_the_training_rows_whatever_their_length() -> None:
    short, long = noisy(table(6)), noisy(table(6, seed=1, longest=1500))
    both = followed_by(short, long)
    for name, array in (("audio", "spectrogram"), ("audio", "mask"), ("image", "pixels")):
        found = both.prepared[name][array]
        for part, rows in ((short, slice(0, 6)), (long, slice(6, 12))):
            own = part.prepared[name][array]
            assert torch.equal(found[rows][:, : own.shape[1]], own)
            assert not found[rows][:, own.shape[1] :].any()
    learned = both.take(torch.arange(6)).redrawn(torch.Generator().manual_seed(0))
    assert not torch.equal(learned.prepared["image"]["pixels"], short.prepared["image"]["pixels"])


# -- the protocol ------------------------------------------------------------------------------------------------------


def small(**settings: Any) -> FusionClassifier:
    told: dict[str, Any] = {
        "modalities": SCHEMA,
        "width": 3,
        "network": {"name": "conv_lstm", "dense": 6, "least_steps": 2, "own_pool": 1, "precision": "float32"},
        "epochs": 2, "batch_size": 8, "store": "none", "progress": False, "random_state": 0,
    }  # fmt: skip
    return FusionClassifier(protocol="early-fusion-conv-lstm", **told | settings)


def test_the_protocol_is_plain_adam_on_exactly_the_training_rows() -> None:
    said = config.protocol_settings("early-fusion-conv-lstm")
    assert (said["optimiser"], said["schedule"], said["clip"], said["weight_decay"]) == ("adam", "constant", 0.0, 0.0)
    assert (said["validation"], said["learning_rate"], said["width"], said["layers"]) == ("given", 0.001, 64, 2)
    assert said["network"]["own_pool"] == 1  # A.2 names no pooling after convolutions that run alone
    assert said["network"]["dense"] == 128
    clean = table(24)
    rows, labels = parse(NOISE).apply(clean, SCHEMA), np.arange(24) % 2
    valid = parse(NOISE).apply(table(8, seed=1, longest=900), SCHEMA), np.arange(8) % 2
    models = [small().fit(rows, labels, valid=valid) for _ in range(2)]
    losses = [[record["train_loss"] for record in model.history_] for model in models]
    assert losses[0] == losses[1]  # the noise is drawn from the seed
    fixed = [{"white_noise": {**one["white_noise"], "redraw": False}} for one in NOISE]
    once = small().fit(parse(fixed).apply(clean, SCHEMA), labels, valid=valid)
    assert [record["train_loss"] for record in once.history_] != losses[0]


@pytest.mark.parametrize("depth", ["early", "middle", "late"])
def test_every_depth_of_the_protocol_learns_one_step_like_torchs_adam(depth: str) -> None:
    frame, labels = table(8), np.arange(8) % 2
    model = small(depth=depth, epochs=1, batch_size=8).fit(frame, labels, valid=(frame, labels))
    assert model.history_[0]["batches"]["train"] == 1
    assert math.isfinite(model.history_[0]["valid_loss"])


# -- its figures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MNIST and FSDD as ``PLAIT_DATA`` has them, made small."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for name in ("mnist", "fsdd"):
        (root / name).mkdir(parents=True)
    train, test = np.arange(300) % 10, np.arange(100) % 10
    pictures = {
        k: rng.integers(0, 255, (len(v), 28, 28), dtype=np.uint8) for k, v in (("train", train), ("test", test))
    }
    digits = {"x_train": pictures["train"], "y_train": train, "x_test": pictures["test"], "y_test": test}
    np.savez(root / "mnist" / "mnist.npz", **digits)
    count = 300
    sizes = rng.integers(800, 1600, count)
    np.savez(
        root / "fsdd" / "fsdd.npz",
        wave=rng.integers(-9000, 9000, int(sizes.sum()), dtype=np.int16),
        offset=np.concatenate([[0], np.cumsum(sizes)]),
        digit=np.arange(count) % 10,
        speaker=np.repeat(["a", "b", "c"], 100),
        index=np.arange(count) // 10,
    )
    monkeypatch.setenv("PLAIT_DATA", str(root))
    return root


def test_its_figures_are_reproduced_small(digits: Path, tmp_path: Path) -> None:
    told = {"out": tmp_path / "out", "store": str(tmp_path / "store"), "engine": "inline", "quick": True}
    whole = papers.read("early-fusion-conv-lstm")
    assert [element.name for element in whole.elements] == [f"figure{n}" for n in range(1, 17)]
    assert whole.protocol == "early-fusion-conv-lstm"
    for name, blocks in {"figure5": 0, "figure1": 1, "figure6": 1, "figure16": 1}.items():
        result = papers.reproduce("early-fusion-conv-lstm", name, **told)
        assert not result.not_run, name
        assert [line.verdict for line in result.lines] == ["measured"]
        page = Path(str(result.page)).read_text(encoding="utf-8")
        assert page.count("<figure") >= blocks, name
        assert ("sigmoid(z_i, z_f, z_o)" in page) == (name == "figure5")
    measured = papers.reproduce("early-fusion-conv-lstm", "figure1", **told).results["conv_lstm_depths"][
        "av_digits/digit"
    ]
    assert len(measured.runs) == 5
    assert set(measured.runs["status"]) == {"done"}
    assert (tmp_path / "out" / "activations-model" / "model.json").is_file()
    # What is no better than one answer for all digits is said to be so.
    frame = measured.frame[measured.frame["metric"] == "accuracy"]
    target = measured.predictions(str(measured.runs["run"].iloc[0])).target
    share = np.unique(np.asarray(target), return_counts=True)[1].max() / len(target)
    low = frame.groupby("variant")["value"].max() <= share
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert (f"No better than one answer for all test rows ({share:.3f})" in page) == bool(low.any())


@pytest.mark.parametrize(("ratio", "said"), [("amplitude_ratio", "amplitude ratio"), ("snr", "SNR")])
def test_an_axis_names_the_ratio_that_it_shows(ratio: str, said: str) -> None:
    pytest.importorskip("matplotlib")
    drawn = figures.curves([math.inf, 1.0], {"orig": [0.9, 0.5]}, modality="image", ratio=ratio, trained={"orig": 1.0})
    assert drawn.axes[0].get_xlabel() == f"image {said} in the test; squares: in training"


def test_recipes_say_the_papers_sizes_and_noise_that_is_drawn_anew() -> None:
    for name in (
        "conv_lstm_depths",
        "conv_lstm_late",
        "conv_lstm_grid",
        "conv_lstm_image_alone",
        "conv_lstm_audio_alone",
    ):
        spec = Study.load(name).spec
        model = Study.load(name).variants[0].model
        assert (model["width"], model["learning_rate"], model["optimiser"]) == (64, 0.001, "adam"), name
        assert spec.data[0].options["pairs"] == 87_516
        assert all("redraw" in str(condition) for condition in spec.train)
        assert not any("redraw" in str(condition) for condition in spec.test)
    grid = Study.load("conv_lstm_grid").spec
    assert (len(grid.train), len(grid.test)) == (16, 100)


def test_a_paper_of_ones_own_draws_what_any_paper_may(tmp_path: Path) -> None:
    element = {"name": "f", "title": "t", "status": "there", "draws": {"figure": "comparison"}}
    paper = {"title": "t", "citation": "c", "elements": [element]}
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(paper), encoding="utf-8")
    with pytest.raises(ConfigError, match="draws: no figure 'comparison': known: bars, boxes, changes, epochs"):
        papers.read(tmp_path)
