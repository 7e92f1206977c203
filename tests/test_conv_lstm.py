"""The convolutional LSTM: equal to the naive one, indifferent to padding and to other rows, and it learns."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from plait import FusionClassifier
from plait.base.errors import CellError, ConfigError, TableError
from plait.base.machine import fast_dtype
from plait.base.tokens import Tokens
from plait.branches.branches import trained_weights
from plait.conditions.parse import parse
from plait.data.modality import Modality, Schema
from plait.encoders.pixels import Pixels
from plait.encoders.spectrogram import Spectrogram
from plait.networks.conv_lstm import _WORTH, ConvLSTM, Stack
from plait.networks.conv_lstm_layer import ConvLSTMLayer, ConvLSTMOptions, Steps, lengths, pack
from plait.papers.early_fusion_conv_lstm import noise_grids
from plait.papers.early_fusion_conv_lstm.noise_grids import Grid
from plait.testing import check_gradients
from plait.training.design import schema_for

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from naive_conv_lstm import naive_outputs

SIDE, CHANNELS, BINS, LONGEST = 6, 2, 5, 7
LENGTHS = (7, 3, 0, 1, 5, 7)
DIMS = {"image": CHANNELS, "audio": BINS}
BOTH, SEEN, HEARD = ("image", "audio"), ("image",), ("audio",)


def batch(names: tuple[str, ...] = BOTH, seed: int = 0) -> dict[str, Tokens]:
    """Six rows; the third has no sound."""
    generator = torch.Generator().manual_seed(seed)
    rows = len(LENGTHS)
    image = Tokens(
        torch.rand(rows, SIDE * SIDE, CHANNELS, generator=generator), torch.ones(rows, SIDE * SIDE, dtype=torch.bool)
    )
    frames = torch.rand(rows, LONGEST, BINS, generator=generator)
    audio = Tokens(frames, torch.arange(LONGEST)[None] < torch.tensor(LENGTHS)[:, None])
    return {name: {"image": image, "audio": audio}[name] for name in names}


def network(
    names: tuple[str, ...] = BOTH, depth: str | int = 0, seed: int = 1, layers: int = 2, **options: Any
) -> ConvLSTM:
    torch.manual_seed(seed)
    told = {"precision": "float32", "least_steps": 2, "dense": 8} | options
    pictures = {"image": (SIDE, SIDE)} if "image" in names else {}
    dims = {name: DIMS[name] for name in names}
    return ConvLSTM(dims, 3, pictures=pictures, depth=depth, layers=layers, width=4, options=told)


def front_padded(tokens: dict[str, Tokens], least: int) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """By hand: the picture, the sound that ends at the last step, and where it has begun."""
    rows = len(LENGTHS)
    picture = sound = None
    if "image" in tokens:
        picture = tokens["image"].x.view(rows, SIDE, SIDE, CHANNELS).permute(0, 3, 1, 2)
    kept = LENGTHS if "audio" in tokens else (0,) * rows
    longest = max(*kept, least)
    begun = torch.zeros(rows, longest, dtype=torch.bool)
    if "audio" in tokens:
        sound = torch.zeros(rows, longest, BINS)
        for row, length in enumerate(kept):
            sound[row, longest - length :] = tokens["audio"].x[row, :length]
    for row, length in enumerate(kept):
        begun[row, longest - max(length, least) :] = True
    return picture, sound, begun


def outputs_and_gradients(model: ConvLSTM, out: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    generator = torch.Generator().manual_seed(5)
    (out * torch.randn(out.shape, generator=generator)).sum().backward()
    return out.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("names", [BOTH, SEEN, HEARD])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("checkpoint", [0, 3])
def test_equals_the_naive_one(names: tuple[str, ...], depth: int, checkpoint: int) -> None:
    pool = 1 if names == HEARD else 2  # the naive one cannot pool a single place
    rows = torch.tensor([0, 1, 3, 4, 5])  # of an absent sound nothing is taken; the naive one does not know of it
    tokens = {name: found.take(rows) for name, found in batch(names).items()}
    model = network(names, depth, pool=pool, checkpoint=checkpoint)
    picture, sound, begun = (None if t is None else t[rows] for t in front_padded(batch(names), 2))
    assert begun is not None
    found, gradients = outputs_and_gradients(model, model(tokens))
    expected, wanted = outputs_and_gradients(model, naive_outputs(model, picture, sound, begun))
    assert torch.allclose(found, expected, atol=1e-5)
    assert gradients.keys() == wanted.keys() == dict(model.named_parameters()).keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[name], atol=1e-4), name


def test_absent_sound_is_silence_at_depth_0() -> None:
    tokens = batch()
    picture, sound, begun = front_padded(tokens, 2)
    model = network()
    assert torch.allclose(model(tokens), naive_outputs(model, picture, sound, begun), atol=1e-5)


def test_the_formula_by_hand() -> None:
    """One place, one unit, one step: the gates written out."""
    torch.manual_seed(0)
    model = ConvLSTM(
        {"image": 1, "audio": 1}, 1, pictures={"image": (1, 1)}, layers=1, width=1,
        options={"precision": "float32", "least_steps": 1, "dense": 1},
    )  # fmt: skip
    layer = model.stack.joint[0]
    v, a = 0.7, -0.4
    tokens = {
        name: Tokens(torch.full((1, 1, 1), value), torch.ones(1, 1, dtype=torch.bool))
        for name, value in (("image", v), ("audio", a))
    }
    z = [layer.still[g, 0, 0, 0].item() * v + layer.driven[g, 0].item() * a + layer.bias[g].item() for g in range(4)]
    i, _, o, g = (1 / (1 + math.exp(-z[0])), None, 1 / (1 + math.exp(-z[2])), math.tanh(z[3]))
    h = o * math.tanh(i * g)
    hidden = max(0.0, model.dense.weight.item() * h + model.dense.bias.item())
    assert model(tokens).item() == pytest.approx(model.head.weight.item() * hidden + model.head.bias.item(), abs=1e-6)


@pytest.mark.parametrize("names", [BOTH, SEEN, HEARD])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize(("size", "kernel"), [((6, 6), 3), ((2, 2), 3), ((2, 2), 5)])
def test_every_weight_gets_a_gradient_that_matters(
    names: tuple[str, ...], depth: int, size: tuple[int, int], kernel: int
) -> None:
    """In every presence pattern that is trained, every tap of every kernel sees something of the map."""
    torch.manual_seed(0)
    dims = {name: {"image": 2, "audio": 4}[name] for name in names}
    pictures = {"image": size} if "image" in names else {}
    network = ConvLSTM(dims, 3, pictures=pictures, depth=depth, width=8, options={"kernel": kernel, "dense": 16})
    with torch.no_grad():
        network.dense.bias.fill_(9.0)  # no unit is shut by its ReLU; those of the convolutions may be
    rows, places = 48, size[0] * size[1]
    image = Tokens(torch.randn(rows, places, 2), torch.ones(rows, places, dtype=torch.bool))
    audio = Tokens(torch.randn(rows, 5, 4), torch.ones(rows, 5, dtype=torch.bool))
    out = network({name: {"image": image, "audio": audio}[name] for name in names})
    torch.nn.functional.cross_entropy(out, torch.arange(rows) % 3).backward()
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        matters = p.grad.abs() > 1e-4 * p.grad.abs().max()
        if p.ndim == 4:
            assert matters.any((0, 1)).all(), f"{name}: a tap that sees nothing"
        assert matters.float().mean() > (0.4 if "convolutions" in name else 0.8), name


def test_without_a_picture_it_is_the_plain_lstm_and_begins_like_one() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM({"audio": 5}, 3, pictures={}, width=32).stack.joint[0]
    assert isinstance(layer, ConvLSTMLayer)
    assert layer.weight.shape == (128, 32, 1, 1)
    hidden = layer.weight[:32, :, 0, 0]
    torch.testing.assert_close(hidden @ hidden.T, torch.eye(32), atol=1e-5, rtol=0)  # orthogonal, not a ninth of it
    second = ConvLSTM({"audio": 5}, 3, pictures={}, width=32).stack.joint[1]
    assert isinstance(second, ConvLSTMLayer)
    entering = second.weight[:32, :32, 0, 0].std().item()
    assert entering == pytest.approx((2 / (64 + 32)) ** 0.5, rel=0.1)  # Glorot's, of what it sees


@pytest.mark.parametrize("depth", [0, 1])
def test_models_saved_with_kernels_that_reached_beyond_the_map_answer_as_before(depth: int) -> None:
    network = ConvLSTM({"audio": 5}, 3, pictures={}, depth=depth, width=4).eval()
    with torch.no_grad():
        state = {k: v.clone() for k, v in network.state_dict().items()}
    old = {
        k: torch.nn.functional.pad(v, (1, 1, 1, 1), value=7.0) if "joint" in k and v.ndim == 4 else v
        for k, v in state.items()
    }
    assert any(old[k].shape != state[k].shape for k in state)
    other = ConvLSTM({"audio": 5}, 3, pictures={}, depth=depth, width=4).eval()
    other.load_state_dict(old)
    audio = Tokens(torch.randn(6, 5, 5), torch.ones(6, 5, dtype=torch.bool))
    with torch.no_grad():
        torch.testing.assert_close(other({"audio": audio}), network({"audio": audio}))


@pytest.mark.parametrize(
    ("told", "training", "products", "expected"),
    [
        ("auto", True, _WORTH, "fast"),
        ("auto", True, _WORTH - 1, "float32"),
        ("auto", False, _WORTH, "float32"),
        ("fast", False, _WORTH, "fast"),
        ("fast", False, _WORTH - 1, "float32"),
        ("float32", True, _WORTH, "float32"),
    ],
)
def test_bf16_is_taken_where_it_is_faster(
    told: str, training: bool, products: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plait.networks.conv_lstm.fast_dtype", lambda device: torch.bfloat16)
    network = ConvLSTM({"audio": 5}, 3, pictures={}, width=4, options={"precision": told}).train(training)
    network.stack.products = products
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert network._dtype(cpu) == (torch.bfloat16 if expected == "fast" else torch.float32)
    assert network._dtype(cuda) == (
        torch.bfloat16 if told == "fast" or (told == "auto" and training) else torch.float32
    )


def test_products_are_weights_times_places() -> None:
    late = ConvLSTM({"image": 1, "audio": 201}, 10, pictures={"image": (14, 14)}, depth="late", width=16)
    early = ConvLSTM({"image": 1, "audio": 201}, 10, pictures={"image": (14, 14)}, depth="early", width=16)
    assert late.stack.products == 4 * 16 * 16
    assert early.stack.products == 4 * 16 * 16 * 9 * 14 * 14


@pytest.mark.parametrize("depth", ["early", "middle", "late"])
def test_contract(depth: str) -> None:
    tokens = batch()
    model = network(depth=depth).eval()
    out = model(tokens)
    assert torch.isfinite(out).all()
    some = torch.tensor([4, 1, 2])
    assert torch.allclose(model({n: t.take(some) for n, t in tokens.items()}), out[some], atol=1e-5)  # other rows
    padded = {
        n: Tokens(functional.pad(t.x, (0, 0, 0, 3), value=9.0), functional.pad(t.mask, (0, 3)))
        for n, t in tokens.items()
    }
    assert torch.allclose(model(padded), out, atol=1e-5)
    broken = {n: Tokens(t.x.masked_fill(~t.mask[..., None], math.nan), t.mask) for n, t in tokens.items()}
    assert torch.allclose(model(broken), out, atol=1e-5)
    gone = {n: t.absent_where(torch.ones(len(t), dtype=torch.bool)) for n, t in tokens.items()}
    nothing = model(gone)
    assert torch.isfinite(nothing).all()
    assert torch.allclose(nothing, nothing[:1].expand_as(nothing), atol=1e-5)
    for name in BOTH:
        assert not torch.allclose(model(tokens | {name: gone[name]})[0], out[0], atol=1e-3)
    check_gradients(model, model(tokens).square().sum())


def test_frames_with_holes_are_those_that_are_there() -> None:
    tokens = batch()
    audio = tokens["audio"]
    holed = audio.mask.clone()
    holed[:, 1] = False
    left = torch.cat([audio.x[:, :1], audio.x[:, 2:]], 1), torch.cat([holed[:, :1], holed[:, 2:]], 1)
    model = network().eval()
    assert torch.allclose(
        model(tokens | {"audio": Tokens(audio.x, holed)}), model(tokens | {"audio": Tokens(*left)}), atol=1e-6
    )


def test_silence_in_front_is_front_padding() -> None:
    """The paper pads all sounds to one length; ``least_steps`` does it without computing frames."""
    tokens = batch()
    audio = tokens["audio"].take(torch.tensor([1]))
    image = tokens["image"].take(torch.tensor([1]))
    silent = Tokens(torch.cat([torch.zeros(1, 4, BINS), audio.x[:, :3]], 1), torch.ones(1, 7, dtype=torch.bool))
    padded = network(least_steps=7)({"image": image, "audio": audio})
    assert torch.allclose(padded, network(least_steps=1)({"image": image, "audio": silent}), atol=1e-6)
    assert not torch.allclose(padded, network(least_steps=1)({"image": image, "audio": audio}), atol=1e-3)


def test_pack_puts_every_frame_where_it_belongs() -> None:
    audio = batch()["audio"]
    steps = lengths(audio, len(audio), 2)
    assert steps.tolist() == [7, 3, 2, 2, 5, 7]
    order = steps.argsort(descending=True, stable=True)
    packed = pack(audio, order, steps[order])
    assert packed.counts == (2, 2, 3, 3, 4, 6, 6)
    assert packed.frames is not None
    place = 0
    for t, count in enumerate(packed.counts):
        for r in range(count):
            row = int(order[r])
            frame = t - 7 + LENGTHS[row]
            expected = audio.x[row, frame] if frame >= 0 else torch.zeros(BINS)
            assert torch.equal(packed.frames[place], expected)
            assert int(packed.who[place]) == r
            place += 1
    assert place == len(packed.frames)


def test_over_time_ends_with_the_answer() -> None:
    for depth in (0, 1, 2):
        model = network(depth=depth, checkpoint=3).eval()
        values, begun = model.over_time(batch())
        assert values.shape == (6, LONGEST, 3)
        assert torch.allclose(values[:, -1], model(batch()), atol=1e-6)
        assert begun.sum(1).tolist() == [7, 3, 2, 2, 5, 7]
        assert bool((values[~begun] == 0).all())


def test_checkpoints_keep_little_and_change_nothing() -> None:
    tokens = batch()

    def kept(checkpoint: int) -> tuple[int, Tensor]:
        numbers = 0

        def count(t: Tensor) -> Tensor:
            nonlocal numbers
            numbers += t.numel()
            return t

        model = network(checkpoint=checkpoint)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            out = model(tokens)
        return numbers, outputs_and_gradients(model, out)[1]["stack.joint.0.weight"]

    everything, whole = kept(0)
    little, pieces = kept(2)
    assert little < 0.7 * everything
    assert torch.allclose(whole, pieces, atol=1e-6)


@pytest.mark.skipif(fast_dtype() != torch.bfloat16, reason="this processor multiplies no bf16")
def test_bf16_trains_near_float32_and_predicts_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plait.networks.conv_lstm._WORTH", 0)
    tokens = batch()
    exact, fast = network(), network(precision="auto")
    for model in (exact, fast):
        model.train()
    (a, ga), (b, gb) = (outputs_and_gradients(m, m(tokens)) for m in (exact, fast))
    assert 0 < float((a - b).abs().max()) < 0.02
    for name, gradient in ga.items():
        assert float((gradient - gb[name]).abs().max()) < 0.05 * float(gradient.abs().max()) + 1e-3, name
    assert torch.equal(exact.eval()(tokens), fast.eval()(tokens))


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("checkpoint", [0, 2])
def test_everything_lies_where_the_weights_do(depth: int, checkpoint: int) -> None:
    there = torch.device("meta")  # refuses, as a GPU does, what mixes its tensors with those of the default device
    with there:
        stack = Stack(CHANNELS, (SIDE, SIDE), BINS, depth, 2, 4, ConvLSTMOptions(checkpoint=checkpoint))
        counts = (2, 3, 3)
        steps = Steps(torch.zeros(3), counts, torch.zeros(8, dtype=torch.long), torch.zeros(8, BINS))
        picture, present = torch.zeros(3, CHANNELS, SIDE, SIDE), torch.ones(3, dtype=torch.bool)
    for every in (False, True):
        out = stack(picture, steps, present, present, torch.bfloat16, every)
        assert (out.device, out.dtype, len(out)) == (there, torch.float32, 8 if every else 3)
    out.sum().backward()
    assert {p.grad.device for p in stack.parameters() if p.grad is not None} == {there}
    assert all(p.grad is not None for p in stack.parameters())


def test_a_callers_autocast_changes_nothing() -> None:
    for depth in (0, 1, 2):
        model = network(BOTH, depth)
        plain, gradients = outputs_and_gradients(model, model(batch()))
        with torch.autocast("cpu", torch.bfloat16):
            out = model(batch())
        found, others = outputs_and_gradients(model, out)
        assert torch.equal(found, plain)
        assert all(torch.equal(others[name], gradient) for name, gradient in gradients.items())


def test_depths_are_layers_that_run_alone() -> None:
    sizes = {d: network(depth=d).stack for d in (0, 1, 2)}
    assert [(len(s.convolutions), len(s.lstms), len(s.joint)) for s in sizes.values()] == [
        (0, 0, 2),
        (1, 1, 1),
        (2, 2, 0),
    ]
    assert len(network(depth="middle", layers=4).stack.joint) == 2


def test_the_papers_sizes() -> None:
    with torch.device("meta"):
        models = [ConvLSTM({"image": 1, "audio": 201}, 10, pictures={"image": (28, 28)}, depth=d) for d in (0, 1, 2)]
    own = 4 * 64 * (9 * 1 + 201 + 9 * 64 + 1)  # figure 5: patch, frame, hidden patch, bias
    second = 4 * 64 * (9 * 64 + 9 * 64 + 1)
    dense = (7 * 7 * 64 + 1) * 128 + (128 + 1) * 10
    assert trained_weights(models[0]) == own + second + dense
    lstm = 4 * 64 * (201 + 64 + 1)
    joined = 4 * 64 * (9 * 64 + 64 + 9 * 64 + 1)
    assert trained_weights(models[1]) == (9 + 1) * 64 + lstm + joined + dense
    late = (7 * 7 * 64 + 64 + 1) * 128 + (128 + 1) * 10
    assert trained_weights(models[2]) == 640 + (9 * 64 + 1) * 64 + lstm + 4 * 64 * (64 + 64 + 1) + late


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 3}, "has 2 layers"),
        ({"depth": -1}, "expected 0 to 2"),
        ({"depth": "decision"}, "unknown depth 'decision'"),
        ({"depth": "erly"}, "did you mean 'early'"),
        ({"kernel": 2}, "kernel must be odd"),
        ({"pool": 0}, "pool must be a whole number from 1"),
        ({"dense": 1.5}, "dense must be a whole number"),
        ({"precision": "float16"}, "precision must be auto, fast or float32"),
        ({"units": 3}, "unknown field 'units'"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network(**change)


def test_one_picture_and_one_sequence() -> None:
    with pytest.raises(ConfigError, match="one sequence.*found 2: audio, text; keep one of them"):
        ConvLSTM({"audio": 3, "text": 4, "image": 1}, 2, pictures={"image": (4, 4)})
    with pytest.raises(ConfigError, match="one picture.*found 2: a, b"):
        ConvLSTM({"a": 1, "b": 1}, 2, pictures={"a": (4, 4), "b": (4, 4)})


# -- encoders ------------------------------------------------------------------------------------------------------


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def test_a_spectrogram_by_hand() -> None:
    wave = sound(1000)
    encoder = Spectrogram(scale="power").fit([(wave, 8000)])
    found = encoder.prepare([(wave, 8000)])
    padded = np.concatenate([np.zeros(200), wave])
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
    for f in range(5):
        frame = padded[200 * f : 200 * f + 400] * hann
        for k in (0, 17, 200):
            term = sum(
                frame[n] * complex(math.cos(2 * math.pi * k * n / 400), -math.sin(2 * math.pi * k * n / 400))
                for n in range(400)
            )
            expected = abs(term) ** 2 / encoder.state()["level"]
            assert float(found["spectrogram"][0, f, k]) == pytest.approx(expected, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("scale", ["magnitude", "power", "log"])
def test_front_padding_a_sound_is_zeros_before_its_frames(scale: str) -> None:
    wave = sound(1130)
    encoder = Spectrogram(scale=scale).fit([(wave, 8000)])
    frames = encoder.prepare([(wave, 8000)])["spectrogram"][0]
    padded = encoder.prepare([(np.concatenate([np.zeros(600, np.float32), wave]), 8000)])["spectrogram"][0]
    assert frames.shape == (6, 201)
    assert padded.shape == (9, 201)
    assert not padded[:3].any()
    assert np.allclose(padded[3:], frames, atol=1e-3)


def test_sounds_of_every_sort() -> None:
    encoder = Spectrogram().fit([(sound(4000), 8000)])
    short, silent = encoder.prepare([(sound(7), 8000)]), encoder.prepare([(np.zeros(900, np.float32), 8000)])
    assert short["mask"].tolist() == [[True]]  # shorter than a window: one frame
    assert short["spectrogram"].any()
    assert silent["mask"].all()  # silence is there, and it is zero
    assert not silent["spectrogram"].any()
    stereo = np.stack([sound(4410), sound(4410, 1)], 1)
    assert encoder.prepare([(stereo, 44100)])["mask"].shape == (1, 4)  # a tenth of a second at 8 kHz
    both = encoder.prepare([(sound(400), 8000), (sound(1000), 8000)])
    assert both["mask"].sum(1).tolist() == [2, 5]
    assert not both["spectrogram"][0, 2:].any()
    with pytest.raises(CellError, match="finite"):
        encoder.prepare([(np.array([np.nan, 1.0], np.float32), 8000)])


def test_a_spectrogram_keeps_what_it_learned() -> None:
    cells = [(sound(4000, s), 8000) for s in range(3)]
    encoder = Spectrogram(scale="log", stride=300).fit(cells)
    again = Spectrogram(scale="log", stride=300)
    with pytest.raises(ConfigError, match="not fitted"):
        again.prepare(cells)
    again.load_state(encoder.state())
    assert np.array_equal(encoder.prepare(cells)["spectrogram"], again.prepare(cells)["spectrogram"])
    assert again.fingerprint() == encoder.fingerprint()
    level = encoder.prepare(cells)["spectrogram"].astype(np.float64)
    assert float(np.sqrt((level**2).mean())) == pytest.approx(1.0, abs=0.1)
    assert np.isfinite(Spectrogram().fit([(np.zeros(900, np.float32), 8000)]).prepare(cells)["spectrogram"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"stride": 500}, "leaves out samples"), ({"scale": "logg"}, "did you mean 'log'"), ({"window": 1}, "window")],
)
def test_a_spectrogram_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Spectrogram(**options)


def test_pixels_are_the_picture() -> None:
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4) * 10
    encoder = Pixels(size=4, channels=1)
    prepared = encoder.prepare([grey, np.full((9, 5, 3), 51, np.uint8)])
    found = encoder.module()({k: torch.from_numpy(v) for k, v in prepared.items()})
    assert found.x.shape == (2, 16, 1)
    assert found.mask.all()
    assert found.x[0, :, 0].tolist() == pytest.approx((grey.ravel() / 255).tolist(), abs=1e-3)
    assert torch.allclose(found.x[1], torch.tensor(0.2), atol=1e-3)  # one colour stays one colour
    assert (encoder.dim, encoder.picture) == (1, (4, 4))
    assert Pixels(size=3).prepare([grey])["pixels"].shape == (1, 3, 3, 3)


def test_pixels_keep_noise_that_leaves_the_range() -> None:
    schema = Schema((Modality("image", "image", ("image",)),))
    frame = pd.DataFrame({"image": [np.random.default_rng(0).integers(0, 255, (12, 12), dtype=np.uint8)]})
    noisy = noise_grids.noise("image", 0.1).apply(frame, schema)["image"].iloc[0]
    values = Pixels(size=12, channels=1).prepare([noisy])["pixels"]
    assert values.min() < 0
    assert values.max() > 1


# -- as an estimator -----------------------------------------------------------------------------------------------


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Four classes: the picture's half says one bit, the sound's pitch the other; some cells are missing."""
    rng = np.random.default_rng(seed)
    images: list[Any] = []
    sounds: list[Any] = []
    labels = []
    for row in range(rows):
        a, b = rng.integers(0, 2, 2)
        picture = rng.integers(0, 60, (6, 6), dtype=np.uint8)
        picture[:, 3 * a : 3 * a + 3] += 150
        n = int(rng.integers(400, 1200))
        wave = np.sin(2 * math.pi * (600 if b else 1800) * np.arange(n) / 8000) * 0.5 + rng.normal(0, 0.05, n)
        images.append(picture)
        sounds.append((wave.astype(np.float32), 8000) if row % 10 else None)
        labels.append(f"{a}{b}")
    return pd.DataFrame({"image": images, "audio": sounds, "label": labels})


SCHEMA = Schema((Modality("image", "image", ("image",)), Modality("audio", "audio", ("audio",))), target="label")


def classifier(**settings: Any) -> FusionClassifier:
    told: dict[str, Any] = {
        "modalities": SCHEMA,
        "network": {"name": "conv_lstm", "dense": 8, "least_steps": 3},
        "encoders": {
            "image": {"name": "pixels", "size": 6, "channels": 1},
            "audio": {"name": "spectrogram", "window": 128, "stride": 128, "rate": 8000},
        },
        "width": 4, "branches": ("joint",), "epochs": 25, "batch_size": 16, "learning_rate": 2e-2, "weight_decay": 0.0,
        "input_dropout": 0.0, "modality_dropout": 0.1, "store": "none", "progress": False,
    }  # fmt: skip
    return FusionClassifier(**told | settings)


@pytest.fixture(scope="module")
def fitted() -> FusionClassifier:
    frame = table(160)
    return classifier().fit(frame, frame["label"])


def test_it_trains_through_the_estimator(fitted: FusionClassifier) -> None:
    test = table(80, seed=1)
    whole = test[test["audio"].notna()]
    truth = whole["label"].to_numpy()
    found = fitted.predict_subsets(whole)
    right = {subset: float((fitted.classes_[p.argmax(1)] == truth).mean()) for subset, p in found.items()}
    assert right["image", "audio"] > 0.85
    assert 0.3 < right["image",] < 0.75  # one bit of two
    assert 0.3 < right["audio",] < 0.75
    assert np.isfinite(found[()]).all()
    assert len(fitted.members_.members) == 1
    assert fitted.absent(test)[:, 1].sum() == 8


def test_it_is_saved_and_loaded(fitted: FusionClassifier, tmp_path: Path) -> None:
    test = table(20, seed=2)
    fitted.save(tmp_path / "model")
    again = FusionClassifier.load(tmp_path / "model")
    assert np.array_equal(again.predict_proba(test), fitted.predict_proba(test))
    assert again.network == fitted.network


def test_the_network_brings_its_encoders() -> None:
    found = schema_for("conv_lstm", SCHEMA)
    assert [(m.encoder, m.train) for m in found.modalities] == [("pixels", "scratch"), ("spectrogram", "scratch")]
    assert schema_for("fusion", SCHEMA) == SCHEMA
    chosen = schema_for("conv_lstm", SCHEMA, {"audio": "logmel", "image": {"name": "pixels", "size": 9}})
    assert [(m.encoder, m.train) for m in chosen.modalities] == [(None, "scratch"), (None, "frozen")]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("conv_lst", "did you mean 'conv_lstm'"),
        ({"name": "conv_lstm", "denes": 3}, "did you mean 'dense'"),
        ({"name": "fusion", "dense": 3}, "settings are the estimator's own"),
        ({"dense": 3}, "expected a name"),
        (3, "network must be text or a mapping, found 3"),
    ],
)
def test_a_network_that_there_is_not(told: Any, message: str) -> None:
    frame = table(20)
    with pytest.raises(ConfigError, match=message):
        classifier(network=told).fit(frame, frame["label"])


def test_equal_weights_at_every_depth() -> None:
    frame = table(20)
    counts = []
    for depth in (0, 1, 2):
        model = classifier(depth=depth, width="match", max_weights=20_000, epochs=1, members=1)
        counts.append(model.fit(frame, frame["label"]).record_["trained_weights"])
    assert all(abs(count - 20_000) <= 1000 for count in counts)
    assert len(set(counts)) > 1


# -- the experiments -----------------------------------------------------------------------------------------------


def test_ratios_are_known() -> None:
    with pytest.raises(ConfigError, match="unknown ratio"):
        noise_grids.noise("image", 1.0, "decibel")


def test_zeroed_is_there_and_says_nothing() -> None:
    frame = table(12)
    changed = parse({"zeroed": {"modality": "audio"}}).apply(frame, SCHEMA)
    encoder = Spectrogram(window=64, stride=64).fit([cell for cell in frame["audio"] if cell is not None])
    before, after = (encoder.prepare([f["audio"].iloc[1]]) for f in (frame, changed))
    assert after["mask"].tolist() == before["mask"].tolist()
    assert before["spectrogram"].any()
    assert not after["spectrogram"].any()


def test_activations_over_time(fitted: FusionClassifier) -> None:
    test = table(12, seed=4)
    one = test.iloc[1:2]
    settings = [{"image": math.inf, "audio": math.inf}, {"image": 0.1, "audio": 1.0}]
    found = noise_grids.activations(fitted, one, "00", settings)
    frames = -(-len(one["audio"].iloc[0][0]) // 128)
    assert [len(a.values) - a.padding for a in found] == [frames, frames]
    assert found[0].values.argmax(1)[-1] == list(fitted.classes_).index(fitted.predict(one)[0])
    assert not np.allclose(found[0].values, found[1].values)


def test_pictures_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from plait.papers.early_fusion_conv_lstm import figures
    from plait.papers.early_fusion_conv_lstm import figures as conv_lstm_samples

    rng = np.random.default_rng(0)
    levels = ((math.inf, 1.0, 0.5), (math.inf, 2.0))
    drawn = [
        Grid(("image", "audio"), levels, rng.random((3, 2, 40)) < p, (1.0, 2.0), f"p {p}") for p in (0.9, 0.6, 0.4)
    ]
    assert len(figures.heat_maps(drawn, columns=2).axes) == 5  # four places and a scale
    whole = figures.comparison(drawn, {1: np.ones((3, 2), bool)})
    below = whole.axes[4].images[0]
    low, high = below.get_clim()
    assert low == -high  # centred at zero
    assert np.allclose(below.get_array(), drawn[0].accuracy - drawn[1].accuracy)
    box = whole.axes[0].patches[-1]
    assert (box.get_x(), box.get_y()) == (0.5, 0.5)  # column of 2.0, row of 1.0
    shaded = figures.activation_lines(
        [noise_grids.Activations(rng.random((9, 3)), 4, ("a", "b", "c"), "b", {"audio": 1.0})]
    )
    assert len(shaded.axes[0].lines) == 3
    assert shaded.axes[0].patches
    line = figures.curves(
        (math.inf, 1.0), {"orig": [0.9, 0.5]}, modality="audio", ratio="snr", trained={"orig": math.inf}
    )
    assert figures.write(line, tmp_path / "curve.png").stat().st_size > 1000
    shown = conv_lstm_samples.samples(
        table(12).iloc[1:2], SCHEMA, ("image", "audio"), (math.inf, 0.1), ("snr", "amplitude_ratio")
    )
    pictures = [ax.images[0].get_array() for ax in shown.axes]
    assert len(pictures) == 8  # two ratios, two meanings, a picture and a sound of each
    assert np.array_equal(pictures[0], pictures[4])  # without noise both mean the same
    assert not np.array_equal(pictures[1], pictures[5])
    with pytest.raises(TableError, match="no grid"):
        figures.heat_maps([])


def test_spoken_and_written_digits_are_learned(data_root: Path) -> None:
    from plait.datasets.av_digits import AvDigits

    frame, schema = AvDigits(pairs=300, test_pairs=60).load(data_root).of("digit")
    encoders = {"image": {"name": "pixels", "size": 8, "channels": 1}, "audio": {"name": "spectrogram", "stride": 400}}
    train = frame[frame["split"] == "train"]
    model = classifier(modalities=schema, encoders=encoders, depth=2, width=16, epochs=8)
    model.fit(train, train["digit"])
    test = frame[frame["split"] == "test"]
    assert (model.predict(test) == test["digit"]).mean() > 0.3  # chance: 0.1
