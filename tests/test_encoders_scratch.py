"""Encoders that are trained from scratch: their contract, that they learn, and what is special to each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import plait
from plait.base import config, registry
from plait.base.encoder import Encoder
from plait.base.errors import CellError, ConfigError, PlaitWarning, TableError
from plait.base.tokens import Tokens
from plait.data.media import Blob
from plait.encoders.from_scratch import words
from plait.encoders.sound_frames import frames_in, log_spectrogram
from plait.encoders.spectrogram_cnn import FrameNorm
from plait.testing import check_gradients

Labelled = tuple[list[Any], Tensor]


def bars(n: int, seed: int = 0, side: int = 40) -> Labelled:
    """Noisy pictures of horizontal (0) or vertical (1) lines at any place."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    cells = []
    for label in labels:
        picture = rng.integers(0, 60, (side, side + 8, 3), dtype=np.uint8)
        at = rng.integers(0, side, 3)
        if label:
            picture[:, at] = 200
        else:
            picture[at] = 200
        cells.append(picture)
    return cells, torch.from_numpy(labels)


def tones(n: int, seed: int = 0) -> Labelled:
    """Noisy tones below (0) or above (1) 700 Hz, 0.1 to 0.4 s long."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    cells = []
    for label in labels:
        pitch = rng.uniform(750, 1200) if label else rng.uniform(350, 650)
        time = np.arange(rng.integers(1600, 6400)) / 16_000
        tone = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.02 * rng.standard_normal(len(time))
        cells.append(tone.astype(np.float32))
    return cells, torch.from_numpy(labels)


def keywords(n: int, seed: int = 0) -> Labelled:
    """Thirty random words at most, among them 'rain' (0) or 'sun' (1)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    cells = []
    for label in labels:
        told = [f"word{i}" for i in rng.integers(0, 40, rng.integers(1, 30))]
        told.insert(int(rng.integers(0, len(told) + 1)), ("rain", "sun")[label])
        cells.append(" ".join(told))
    return cells, torch.from_numpy(labels)


def signs(n: int, seed: int = 0) -> Labelled:
    """Sequences of one to three vectors; the label is whether the first two numbers of their mean have one sign."""
    rng = np.random.default_rng(seed)
    cells = []
    labels = rng.integers(0, 2, n)
    for label in labels:
        first = rng.choice([-1.0, 1.0])
        place = 5.0 + 3.0 * np.array([first, first if label else -first, 0.0, 0.0])
        cells.append(place + rng.normal(0, 0.8, (int(rng.integers(1, 4)), 4)))
    return cells, torch.from_numpy(labels)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    data: Callable[..., Labelled]
    #: Small options that tests on behaviour use; the defaults are tested too.
    small: dict[str, Any]
    #: Another value of every option.
    other: dict[str, Any]
    broken: tuple[Any, ...]
    #: Steps, batch size, learning rate.
    plan: tuple[int, int, float]
    rows: int = 160


TORN = Blob.of_bytes(b"neither a picture nor a sound")
TEXT = {"max_tokens": 64, "vocabulary": 77, "min_count": 3, "width": 9, "dropout": 0.3}
CASES = {
    case.name: case
    for case in (
        Case(
            "cnn",
            bars,
            {"size": 32},
            {"size": 48, "channels": 1, "width": 8},
            (TORN, np.zeros((2, 2, 7))),
            (30, 32, 3e-3),
        ),
        Case(
            "resnet",
            bars,
            {"size": 64},
            {"size": 48, "channels": 1, "depth": 34, "width": 8, "out": 6},
            (TORN,),
            (16, 16, 1e-3),
        ),
        Case(
            "spectrogram_resnet",
            tones,
            {"bins": 16, "width": 8, "out": 8},
            {"max_seconds": 0.2, "bins": 32, "width": 4, "depth": 34, "out": None, "halved": True},
            (TORN, np.array([np.nan] * 900)),
            (30, 32, 3e-3),
        ),
        Case(
            "recurrent",
            signs,
            {},
            {
                "over": {"name": "vector"},
                "cell": "gru",
                "hidden": 5,
                "layers": 2,
                "both": False,
                "pool": "mean_max",
                "out": 3,
                "max_tokens": 1,
                "dropout": 0.5,
            },
            (np.zeros(5), np.full(4, np.nan), "x", np.zeros((0, 4)), np.zeros((1, 2, 4))),
            (60, 32, 1e-2),
        ),
        Case(
            "spectrogram_cnn",
            tones,
            {"bins": 32},
            {"max_seconds": 0.2, "bins": 32, "width": 4},
            (TORN, np.array([np.nan] * 900)),
            (30, 32, 3e-3),
        ),
        Case("gru_text", keywords, {}, {**TEXT, "hidden": 5}, (3, None), (40, 32, 1e-2), 300),
        Case("cnn_text", keywords, {}, {**TEXT, "filters": 5}, (3, None), (40, 32, 1e-2), 300),
        Case(
            "mlp",
            signs,
            {},
            {"width": 16, "layers": 3, "max_tokens": 1, "dropout": 0.5},
            (np.zeros(5), np.full(4, np.nan), "x", np.zeros((0, 4)), np.zeros((1, 2, 4))),
            (60, 32, 1e-2),
        ),
    )
}
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def make(case: Case, **options: Any) -> Encoder:
    found: Encoder = config.build(registry.find("encoders", case.name), {**case.small, **options}, "test")
    return found


def tensors(encoder: Encoder, cells: list[Any]) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in encoder.prepare(cells).items()}


def fitted(case: Case, n: int = 12, **options: Any) -> tuple[Encoder, list[Any]]:
    cells, _ = case.data(n)
    return make(case, **options).fit(cells), cells


def module(encoder: Encoder, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return encoder.module()


@torch.no_grad()
def tokens(encoder: Encoder, cells: list[Any]) -> Tokens:
    found: Tokens = module(encoder).eval()(tensors(encoder, cells))
    return found


def test_every_trainable_encoder_is_tested_here() -> None:
    trainable = [n for n in registry.names("encoders") if registry.find("encoders", n).trainable]
    assert set(trainable) - {"pretrained"} == set(CASES)  # that one has tests of its own


@each
def test_learns_a_small_task(case: Case) -> None:
    cells, labels = case.data(case.rows)
    encoder = make(case).fit(cells)
    arrays = tensors(encoder, cells)
    torch.manual_seed(0)
    network = encoder.module()
    head = nn.Linear(encoder.dim, 2)
    steps, size, rate = case.plan
    optimiser = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=rate)
    for step in range(steps):
        rows = torch.randint(0, len(cells), (size,), generator=torch.Generator().manual_seed(step))
        found = head(network({key: array[rows] for key, array in arrays.items()}).pooled())
        loss = nn.functional.cross_entropy(found, labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    fresh, truth = case.data(100, seed=1)
    with torch.no_grad():
        answers = head(network.eval()(tensors(encoder, fresh)).pooled()).argmax(1)
    assert (answers == truth).float().mean() > 0.9


@each
def test_prepare_is_deterministic_and_one_row_per_cell(case: Case) -> None:
    encoder, cells = fitted(case)
    first, again = encoder.prepare(cells), encoder.prepare(cells)
    assert first.keys() == again.keys()
    for key in first:
        assert len(first[key]) == len(cells)
        assert first[key].dtype == again[key].dtype
        np.testing.assert_array_equal(first[key], again[key])


@each
def test_prepared_shapes_do_not_depend_on_the_batch(case: Case) -> None:
    encoder, cells = fitted(case)
    whole = encoder.prepare(cells)
    for row, cell in enumerate(cells):
        for key, array in encoder.prepare([cell]).items():
            np.testing.assert_array_equal(array[0], whole[key][row])


@each
def test_no_cells_still_have_their_shapes(case: Case) -> None:
    encoder, cells = fitted(case)
    none, some = encoder.prepare([]), encoder.prepare(cells)
    assert {k: (a.dtype, a.shape[1:]) for k, a in none.items()} == {k: (a.dtype, a.shape[1:]) for k, a in some.items()}
    assert {len(a) for a in none.values()} == {0}
    assert len(module(encoder)({key: torch.from_numpy(array) for key, array in none.items()})) == 0


@each
def test_tokens_are_as_wide_as_told_and_finite(case: Case) -> None:
    encoder, cells = fitted(case)
    found = tokens(encoder, cells)
    assert (len(found), found.dim) == (len(cells), encoder.dim)
    assert bool(found.present.all())
    assert bool(torch.isfinite(found.x).all())


@each
def test_other_rows_do_not_matter(case: Case) -> None:
    encoder, cells = fitted(case)
    whole = tokens(encoder, cells).pooled()
    assert whole.std(0).max() > 1e-3, "all cells give the same"
    for row in (0, 5):
        torch.testing.assert_close(tokens(encoder, [cells[row]]).pooled()[0], whole[row], atol=1e-4, rtol=1e-4)


@each
def test_absent_rows_are_zeros_and_change_nothing(case: Case) -> None:
    """Also while training: batch statistics are of the rows that are there."""
    encoder, cells = fitted(case, **({"dropout": 0.0} if "dropout" in config.fields_of(type(make(case))) else {}))
    arrays = tensors(encoder, cells)
    padded = {key: torch.cat([torch.zeros_like(a[:3]), a]) for key, a in arrays.items()}
    for training in (False, True):
        alone, beside = module(encoder).train(training)(arrays), module(encoder).train(training)(padded)
        assert beside.present.tolist() == [False] * 3 + [True] * len(cells)
        torch.testing.assert_close(beside.pooled()[3:], alone.pooled(), atol=1e-4, rtol=1e-4)
        assert not beside.pooled()[:3].any()
    nothing = module(encoder)({key: torch.zeros_like(a) for key, a in arrays.items()})
    assert (len(nothing), nothing.dim) == (len(cells), encoder.dim)
    assert not nothing.present.any()


@each
def test_gradient_reaches_every_parameter(case: Case) -> None:
    encoder, cells = fitted(case)
    network = module(encoder).train()
    check_gradients(network, network(tensors(encoder, cells)).pooled().square().sum())
    assert sum(p.numel() for p in network.parameters()) > 0


@each
def test_weights_follow_torchs_generator(case: Case) -> None:
    encoder, _ = fitted(case)
    first, same, other = (list(module(encoder, seed).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@each
def test_state_round_trip(case: Case) -> None:
    encoder, cells = fitted(case)
    words_only = {k: v for k, v in encoder.state().items() if not isinstance(v, np.ndarray)}
    state = {**encoder.state(), **json.loads(json.dumps(words_only))}  # what is no array must survive JSON
    again = make(case)
    again.load_state(state)
    assert again.fingerprint() == encoder.fingerprint()
    torch.testing.assert_close(tokens(again, cells).x, tokens(encoder, cells).x)


@each
def test_weights_survive_a_state_dict(case: Case) -> None:
    encoder, cells = fitted(case)
    trained, fresh = module(encoder, 1), module(encoder, 2)
    fresh.load_state_dict(trained.state_dict())
    arrays = tensors(encoder, cells)
    torch.testing.assert_close(fresh.eval()(arrays).x, trained.eval()(arrays).x)


@each
def test_fingerprint_changes_with_every_option_and_with_what_was_learned(case: Case) -> None:
    kind = registry.find("encoders", case.name)
    assert set(case.other) == set(config.fields_of(kind)), "an option without another value in this test"
    prints = {kind().fingerprint()} | {kind(**{k: v}).fingerprint() for k, v in case.other.items()}
    assert len(prints) == 1 + len(case.other)
    encoder, cells = fitted(case)
    changed = make(case).fit([c + " more more" if isinstance(c, str) else c[: len(c) // 2 + 1] for c in cells])
    assert len({make(case).fingerprint(), encoder.fingerprint(), changed.fingerprint()}) == 3
    assert make(case).fit(cells).fingerprint() == encoder.fingerprint()


@each
def test_every_option_works(case: Case) -> None:
    encoder, cells = fitted(case, **case.other)
    found = tokens(encoder, cells)
    assert found.dim == encoder.dim


@each
def test_broken_cells_are_refused_one_by_one(case: Case) -> None:
    encoder, cells = fitted(case)
    for broken in case.broken:
        with pytest.raises(CellError):
            encoder.prepare([cells[0], broken])


@each
def test_fit_leaves_broken_cells_to_prepare(case: Case) -> None:
    cells, _ = case.data(12)
    encoder = make(case).fit([*cells, *(b for b in case.broken if case.name != "mlp" or np.size(b) != 5)])
    assert tokens(encoder, cells).present.all()


@each
def test_says_its_licence_and_that_it_must_be_trained(case: Case) -> None:
    facts = registry.find("encoders", case.name).facts()
    assert (facts["train"], facts["licence"], facts["extra"]) == ("scratch", "Apache-2.0", "-")


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("cnn", {"size": 8}, "size must be a whole number from 16"),
        ("cnn", {"channels": 2}, "channels must be 1 or 3, found 2"),
        ("cnn", {"channels": True}, "channels must be 1 or 3"),
        ("cnn", {"width": "64"}, "width must be a whole number"),
        ("resnet", {"depth": 50}, "depth must be 18 or 34, found 50"),
        ("resnet", {"size": 16}, "from 32"),
        ("spectrogram_cnn", {"bins": 20}, "bins must be a multiple of 8"),
        ("spectrogram_cnn", {"max_seconds": 0}, "max_seconds must be a number from 0.05 to 120"),
        ("gru_text", {"dropout": 1.0}, "dropout must be a number from 0 to 0.95"),
        ("cnn_text", {"max_tokens": 0}, "max_tokens"),
        ("mlp", {"layers": 1.5}, "layers must be a whole number"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        registry.find("encoders", name)(**options)


@pytest.mark.parametrize("name", ["gru_text", "cnn_text", "mlp", "spectrogram_cnn"])
def test_what_fit_learns_is_asked_for(name: str) -> None:
    encoder = registry.find("encoders", name)()
    with pytest.raises(ConfigError, match="not fitted"):
        encoder.module()
    with pytest.raises(ConfigError, match="not fitted"):
        encoder.prepare([CASES[name].data(1)[0][0]])


def weights(name: str, **options: Any) -> int:
    case = CASES[name]
    encoder = registry.find("encoders", name)(**options).fit(case.data(4)[0])
    if name.endswith("text"):  # as large as it can get
        encoder.load_state({"words": [f"w{i}" for i in range(encoder.vocabulary)]})
    return sum(p.numel() for p in encoder.module().parameters())


@pytest.mark.parametrize(
    ("name", "most"), [("cnn", 200_000), ("gru_text", 700_000), ("cnn_text", 700_000), ("spectrogram_cnn", 200_000)]
)
def test_light_at_their_defaults(name: str, most: int) -> None:
    assert most / 2 < weights(name) < most


def test_resnets_are_those_of_the_paper() -> None:
    """torchvision counts 11,689,512 and 21,797,672 with a head of 512 x 1000 + 1000."""
    head = 512 * 1000 + 1000
    assert weights("resnet", depth=18) == 11_689_512 - head
    assert weights("resnet", depth=34) == 21_797_672 - head


@torch.no_grad()
def test_cnn_is_its_formula() -> None:
    case = CASES["cnn"]
    encoder, cells = fitted(case)
    network = module(encoder).eval()
    state = encoder.state()
    x = torch.from_numpy((encoder.prepare(cells)["pixels"] / 255 - state["mean"]) / state["std"]).float()
    x = x.permute(0, 3, 1, 2)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for number, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        x = torch.relu(norm(convolution(x)))
        x = nn.functional.max_pool2d(x, 2) if number < 3 else x
    assert x.shape[2:] == (4, 4)
    torch.testing.assert_close(tokens(encoder, cells).pooled(), x.mean((2, 3)), atol=1e-5, rtol=1e-4)


def test_pictures_become_small_and_keep_their_channels() -> None:
    encoder = registry.find("encoders", "cnn")(size=16)
    red = np.zeros((30, 50, 3), np.uint8)
    red[:, :25, 0] = 255
    found = encoder.prepare([red, np.full((16, 16), 7, np.uint8)])["pixels"]
    assert (found.dtype, found.shape) == (np.uint8, (2, 16, 16, 3))
    assert found[0, 8, 2].tolist() == [255, 0, 0]
    assert found[0, 8, 13].tolist() == [0, 0, 0]
    assert (found[1] == 7).all()
    grey = registry.find("encoders", "cnn")(size=16, channels=1).prepare([red])["pixels"]
    assert grey[0, 8, 2].tolist() == [76]  # 0.299 of 255


def test_image_statistics_are_those_of_the_pixels() -> None:
    cells = [np.full((16, 16, 3), level, np.uint8) for level in (0, 255)]
    state = registry.find("encoders", "cnn")(size=16).fit(cells).state()
    np.testing.assert_allclose(state["mean"], 0.5)
    np.testing.assert_allclose(state["std"], 0.5)


def test_words_of_several_scripts() -> None:
    assert words("Foo_bar(x) ≥ 2！", 9) == ["foo_bar", "(", "x", ")", "≥", "2", "!"]
    assert words("東京 tower", 9) == ["東", "京", "tower"]
    assert words(" \n ", 9) == []
    assert words("a b c", 2) == ["a", "b"]


@pytest.mark.parametrize("name", ["gru_text", "cnn_text"])
def test_half_characters_do_not_reach_the_vocabulary(name: str) -> None:
    """They could not be written as UTF-8, and the model could not be saved."""
    state = registry.find("encoders", name)(min_count=1).fit(["broken \ud83d emoji"]).state()
    assert json.dumps(state, ensure_ascii=False).encode()


def test_sounds_that_are_cut_are_told_of() -> None:
    encoder = registry.find("encoders", "spectrogram_cnn")(max_seconds=0.5)
    with pytest.warns(PlaitWarning, match="1 of 2 sounds are longer than 0.5 s"):
        assert encoder.lengths([np.zeros(4000, np.float32), np.zeros(16_000, np.float32)]).tolist() == [250, 500]


def test_vocabulary_is_by_cells_then_by_alphabet() -> None:
    encoder = registry.find("encoders", "cnn_text")(max_tokens=4, vocabulary=2)
    encoder.fit(["b a c", "a b a", "b zzz", "c"])
    assert encoder.state() == {"words": ["b", "a"]}  # c is in two cells as a is, and comes later
    found = encoder.prepare(["b a c", "", "a a a a b"])["words"]
    assert found.tolist() == [[2, 3, 1, 0], [1, 0, 0, 0], [3, 3, 3, 3]]


@pytest.mark.parametrize("name", ["gru_text", "cnn_text"])
def test_padding_behind_a_text_does_not_matter(name: str) -> None:
    cells = ["sun word1", "rain", "word1 word2 word3"]
    short, long = (registry.find("encoders", name)(max_tokens=m, min_count=1).fit(cells) for m in (3, 50))
    torch.testing.assert_close(tokens(short, cells).x, tokens(long, cells).x)


def test_silence_behind_a_sound_is_no_sound() -> None:
    """The same sounds in an array that is longer by one frame or many give the same, while training too."""
    cells, _ = tones(6)
    encoder = registry.find("encoders", "spectrogram_cnn")(bins=32).fit(cells)
    arrays = tensors(encoder, cells)
    longer = {
        "spectrogram": torch.cat([arrays["spectrogram"], torch.full((6, 5, 32), torch.nan, dtype=torch.float16)], 1),
        "mask": torch.cat([arrays["mask"], torch.zeros(6, 5, dtype=torch.bool)], 1),
    }
    for training in (False, True):
        found, expected = module(encoder).train(training)(longer), module(encoder).train(training)(arrays)
        torch.testing.assert_close(found.x, expected.x)
    for rows in (slice(0, 1), slice(2, 4)):  # beside other cells the longest differs, and with it the padding
        alone = module(encoder).eval()({key: array[rows] for key, array in arrays.items()})
        torch.testing.assert_close(alone.x, module(encoder).eval()(arrays).x[rows], atol=1e-5, rtol=1e-5)


def test_batch_norm_is_torchs_over_the_frames_that_are_there() -> None:
    torch.manual_seed(0)
    x, mask = torch.randn(3, 4, 5, 2), torch.ones(3, 5, dtype=torch.bool)
    ours, theirs = FrameNorm(4), nn.BatchNorm2d(4)
    torch.testing.assert_close(ours(x, mask), theirs(x).relu())
    torch.testing.assert_close(ours.eval()(x, mask), theirs.eval()(x).relu())
    mask[1, 2:] = False
    kept = torch.cat([x[0], x[1, :, :2], x[2]], 1)[None]  # the frames that are there, end to end
    ours, theirs = FrameNorm(4), nn.BatchNorm2d(4)
    found = ours(x, mask)
    torch.testing.assert_close(found[1, :, :2], theirs(kept)[0, :, 5:7].relu())
    assert not found[1, :, 2:].any()
    torch.testing.assert_close(ours.running_var, theirs.running_var)


@pytest.mark.parametrize("pitch", [200.0, 1000.0, 5000.0])
def test_a_tone_is_loudest_in_its_bin(pitch: float) -> None:
    time = np.arange(16_000) / 16_000
    found = log_spectrogram(np.sin(2 * np.pi * pitch * time).astype(np.float32), 64, 10.0)
    assert (found.dtype, found.shape) == (np.float16, (frames_in(1.0), 64))
    mel = 2595 * np.log10(1 + np.array([30.0, pitch, 8000.0]) / 700)
    place = 65 * (mel[1] - mel[0]) / (mel[2] - mel[0]) - 1  # middles of the bins are 1 to 64 steps above the lowest
    assert abs(float(found.astype(np.float32).mean(0).argmax()) - place) <= 1


def test_sounds_are_as_long_as_the_longest_of_the_training() -> None:
    cells = [np.zeros(n, np.float32) for n in (100, 4000, 16_000)]
    encoder = registry.find("encoders", "spectrogram_cnn")().fit(cells)
    found = encoder.prepare([*cells, np.zeros(99_000, np.float32)])
    assert found["mask"].sum(1).tolist() == [1, frames_in(0.25), frames_in(1.0), frames_in(1.0)]
    capped = registry.find("encoders", "spectrogram_cnn")(max_seconds=0.25).fit(cells)
    assert capped.prepare(cells)["spectrogram"].shape == (3, frames_in(0.25), 64)


def test_vectors_and_sequences_side_by_side() -> None:
    encoder = registry.find("encoders", "mlp")().fit([np.arange(3.0), np.ones((2, 3)), [[4, 5, 6]]])
    arrays = encoder.prepare([[1, 2, 3], np.ones((5, 3))])
    assert arrays["mask"].tolist() == [[True, False], [True, True]]
    np.testing.assert_allclose(encoder.state()["mean"], [(0 + 1 + 1 + 4) / 4, (1 + 1 + 1 + 5) / 4, (2 + 1 + 1 + 6) / 4])
    with pytest.raises(CellError, match="2 numbers; the training cells had 3"):
        encoder.prepare([[1, 2]])


def test_vectors_that_are_all_broken_are_refused() -> None:
    with pytest.raises(TableError, match="no cell holds a vector"):
        registry.find("encoders", "mlp")().fit([np.full(3, np.nan)])


@pytest.mark.parametrize("name", ["cnn", "spectrogram_cnn", "gru_text"])
def test_fit_on_no_cells_still_makes_a_network(name: str) -> None:
    encoder = registry.find("encoders", name)().fit([])
    assert tokens(encoder, CASES[name].data(2)[0]).present.all()


@pytest.mark.parametrize("encoder", ["mlp", "recurrent", "vector"])
def test_sequences_of_vectors_are_learned_from_in_a_fit(encoder: str) -> None:
    """A fit hands cells on one by one only to encoders that go through them once."""
    rng = np.random.default_rng(0)
    cells = pd.Series([rng.normal(size=(n, 3)) + (place % 2) for place, n in enumerate(rng.integers(1, 5, 40))])
    train = "frozen" if encoder == "vector" else "scratch"
    modalities = {"x": {"kind": "vector", "columns": ["x"], "encoder": encoder, "train": train}}
    settings = {"store": "none", "members": 1, "epochs": 1, "branches": ("joint",), "width": 8, "progress": False}
    model = plait.FusionClassifier(modalities=modalities, **settings).fit(pd.DataFrame({"x": cells}), np.arange(40) % 2)
    assert model.predict_proba(pd.DataFrame({"x": cells[:3]})).shape == (3, 2)
