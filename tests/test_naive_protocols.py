"""The protocols of the papers as plain loops over numbers: losses, gradients, and one training step from the same weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from plait import FusionClassifier
from plait.alignment.batches import backward
from plait.alignment.hardest_negatives import HardestNegatives
from plait.alignment.losses import FixedTargets, SoftTargets
from plait.alignment.pairs import Pairs
from plait.base import config, registry
from plait.base.tokens import Tokens
from plait.networks.fusion import FusionNetwork

ROWS, K, TAU, DIMS = 9, 2, 0.1, {"text": 5, "image": 5, "table": 3}
CLASSES = [i % 3 for i in range(ROWS)]


def rows(seed: int = 0) -> dict[str, Tensor]:
    """Features (n, D) of each modality, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(ROWS, dim, generator=generator, dtype=torch.float64) for name, dim in DIMS.items()}


def naive_cosine(a: Tensor, b: Tensor) -> Tensor:
    dot = sum(u * v for u, v in zip(a, b, strict=True))
    lengths = [sum(u * u for u in one) ** 0.5 for one in (a, b)]
    return dot / lengths[0] / lengths[1]


def naive_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.stack(
        [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
    )


# -- early fusion with contrastive learning ----------------------------------------------------------------------------


def naive_projection(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Section 3.2: linear, tanh, added to the linear map; nothing is dropped."""
    p = naive_linear(x, weight, bias)
    return torch.stack([v + torch.tanh(v) for v in p])


def naive_contrast(z: list[Tensor], anchors: list[Tensor], tau: float = TAU) -> Tensor:
    """The contrastive loss of section 3.2: the mean over anchors of -log(pos / (pos + the k hardest + 1e-7))."""
    total = torch.zeros((), dtype=torch.float64)
    for anchor in anchors:
        for i in range(ROWS):
            similar = [torch.exp(naive_cosine(anchor[i], z[j]) / tau) for j in range(ROWS)]
            others = sorted(
                (s for j, s in enumerate(similar) if j != i), key=lambda s: float(s.detach()), reverse=True
            )[:K]
            total = total - torch.log(similar[i] / (similar[i] + sum(others) + 1e-7))
    return total / ROWS / len(anchors)


def naive_classifier(x: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Section 3.1: two blocks of linear, batch normalisation and ReLU, the classifier, cross-entropy."""
    w1, b1, g1, s1, w2, b2, g2, s2, head, shift = weights
    for w, b, g, s in ((w1, b1, g1, s1), (w2, b2, g2, s2)):
        h = [naive_linear(one, w, b) for one in x]
        columns = []
        for place in range(len(b)):
            values = [one[place] for one in h]
            mean = sum(values) / ROWS
            spread = sum((v - mean) ** 2 for v in values) / ROWS
            normal = [(v - mean) / (spread + 1e-5) ** 0.5 * g[place] + s[place] for v in values]
            columns.append([v if v > 0 else v * 0 for v in normal])
        x = [torch.stack([column[row] for column in columns]) for row in range(ROWS)]
    total = torch.zeros((), dtype=torch.float64)
    for one, label in zip(x, CLASSES, strict=True):
        out = naive_linear(one, head, shift)
        total = total + torch.log(sum(torch.exp(v) for v in out)) - out[label]
    return total / ROWS


def naive_step(loss: Tensor, weights: list[Tensor], rate: float) -> list[Tensor]:
    """Adam's first step: its means are the gradient and its square."""
    gradients = torch.autograd.grad(loss, weights)
    return [w - rate * g / ((g * g) ** 0.5 + 1e-8) for w, g in zip(weights, gradients, strict=True)]


def joined(x: dict[str, Tensor], projected: list[Tensor]) -> list[Tensor]:
    """The features of a row beside each other, modalities in the order of their names."""
    return [torch.cat([x["image"][row], projected[row], x["text"][row]]) for row in range(ROWS)]


def test_projector_and_network_have_the_losses_and_gradients_of_plain_loops() -> None:
    torch.manual_seed(0)
    x = rows()
    stage = HardestNegatives(anchors=["text", "image"], negatives=K, temperature=TAU, dropout=0.0, standardise=False)
    network = stage.network(DIMS).double().train()
    [projector] = network.projectors.values()
    weights = list(projector.parameters())
    loss = backward(network, stage.contrast(), stage.pairs_of(list(DIMS)), Pairs.of(x), ROWS)
    z = [naive_projection(one, *weights) for one in x["table"]]
    assert network.temperature is not None
    naive = naive_contrast(
        z, [x["text"], x["image"]], float(network.temperature().detach())
    )  # the logarithm is rounded
    assert loss == pytest.approx(naive.item(), abs=1e-12)
    for weight, expected in zip(weights, torch.autograd.grad(naive, weights), strict=True):
        torch.testing.assert_close(weight.grad, expected, atol=1e-12, rtol=0)

    seen = x | {"table": torch.stack(z).detach()}
    classifier = FusionNetwork(dict.fromkeys(DIMS, 5), 3, width=4, dropout=0.0).double().train()
    given = {name: Tokens.of_vectors(value) for name, value in seen.items()}
    loss = nn.functional.cross_entropy(classifier(given), torch.tensor(CLASSES))
    weights = list(classifier.parameters())
    naive = naive_classifier(joined(seen, list(seen["table"])), weights)
    assert loss.item() == pytest.approx(naive.item(), abs=1e-12)
    both = torch.autograd.grad(loss, weights), torch.autograd.grad(naive, weights)
    for mine, expected in zip(*both, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-12, rtol=0)


def fitted(align_rate: float, rate: float) -> FusionClassifier:
    """The protocol after one step of the projector and one of the network; a rate of 1e-12 leaves weights as they begin."""
    frame = pd.DataFrame({name: list(value.float().numpy()) for name, value in rows().items()})
    align = {"anchors": ["text", "image"], "standardise": False, "dropout": 0.0, "negatives": K, "temperature": TAU}
    align |= {"epochs": 1, "batch_size": ROWS, "held_out": 0.0, "learning_rate": align_rate, "weight_decay": 0.0}
    model = FusionClassifier(
        protocol="early-fusion-contrastive",
        modalities={name: {"kind": "vector", "columns": [name]} for name in DIMS},
        align={"table": align},
        store="none",
        progress=False,
        random_state=3,
        epochs=1,
        batch_size=ROWS,
        width=4,
        learning_rate=rate,
    )
    return model.fit(frame, np.array(CLASSES), valid=(frame, np.array(CLASSES)))


def weights_of(model: FusionClassifier) -> tuple[list[Tensor], list[Tensor]]:
    """Those of the projector, and those of the network, in double precision."""
    networks = model.enhancers_["table"].network.projectors, model.members_.members[0].networks["joint"]
    first, second = ([p.detach().double().requires_grad_() for p in one.parameters()] for one in networks)
    return first, second


def test_the_whole_protocol_takes_the_steps_of_plain_loops() -> None:
    """From the same weights: one step of the projector with its hardest negatives, then one of the network over what it gives."""
    still, rate = 1e-12, 0.01
    projector, _ = weights_of(fitted(still, still))
    x = {name: value.float().double() for name, value in rows().items()}
    loss = naive_contrast([naive_projection(one, *projector) for one in x["table"]], [x["text"], x["image"]])
    moved = naive_step(loss, projector, rate)
    begun = fitted(rate, still)
    assert begun.enhancers_["table"].record["train_loss"] == pytest.approx(loss.item(), abs=1e-5)
    for mine, expected in zip(weights_of(begun)[0], moved, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=0)

    network = weights_of(begun)[1]
    seen = joined(x, [naive_projection(one, *moved) for one in x["table"]])
    loss = naive_classifier([one.detach() for one in seen], network)
    done = fitted(rate, rate)
    assert done.history_[0]["train_loss"] == pytest.approx(loss.item(), abs=1e-5)
    steps = list(zip(weights_of(done)[1], naive_step(loss, network, rate), strict=True))
    del (
        steps[5],
        steps[1],
    )  # biases that the normalisation takes away again: their gradient is rounding, Adam's step its sign
    for mine, expected in steps:
        torch.testing.assert_close(mine, expected, atol=2e-5, rtol=0)


# -- context-based fusion ----------------------------------------------------------------------------------------------


def naive_soft(
    a: list[Tensor], b: list[Tensor], x: list[Tensor], y: list[Tensor], tau: Tensor, heat: Tensor | None = None
) -> Tensor:
    """Equations 3 to 6; ``x`` and ``y`` are what equation 5 is read over, ``heat`` its own temperature where it is fixed."""
    heat = tau if heat is None else heat
    n, total = len(a), torch.zeros((), dtype=torch.float64)
    both = [[torch.exp(naive_cosine(a[i], b[j]) / tau) for j in range(n)] for i in range(n)]
    alike = [
        [torch.exp((naive_cosine(x[i], x[j]) + naive_cosine(y[i], y[j])) / (2 * heat)) for j in range(n)]
        for i in range(n)
    ]
    for i in range(n):
        for j in range(n):
            one = -torch.log(both[i][j] / sum(both[i]))
            two = -torch.log(both[j][i] / sum(both[m][i] for m in range(n)))
            total = total + alike[i][j] / sum(alike[i]) * one + alike[j][i] / sum(alike[j]) * two
    return total / (2 * n)


@pytest.mark.parametrize("fixed", [False, True])
def test_soft_targets_have_the_gradients_of_plain_loops(fixed: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    a, b, x, y = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(4))
    a, b = a.requires_grad_(), b.requires_grad_()
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    loss = FixedTargets()(a, b, tau, fixed=(x, y)) if fixed else SoftTargets()(a, b, tau)
    targets = (x, y, tau.detach()) if fixed else (a, b, tau)  # fixed ones are no part of the derivative
    naive = naive_soft(list(a), list(b), list(targets[0]), list(targets[1]), tau, targets[2])
    assert loss.item() == pytest.approx(naive.item(), abs=1e-12)
    both = torch.autograd.grad(loss, [a, b, tau]), torch.autograd.grad(naive, [a, b, tau])
    for mine, expected in zip(*both, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-10, rtol=0)


def test_the_whole_stage_of_context_learns_by_the_gradients_of_its_formulas() -> None:
    """Heads, contexts, deep fusion encoder, learned temperature and the loss of equations 3 to 6 in one backward pass."""
    torch.manual_seed(1)
    told = {"operation": "add", "width": 8, "dropout": 0.0, "input_dropout": 0.0, "standardise": False}
    stage = config.build(registry.find("alignment", "context"), {**told, "same": "negatives"}, "context")
    dims = {"text": 5, "image": 4}
    network = stage.network(dims).double().train()
    generator = torch.Generator().manual_seed(3)
    x = {name: torch.randn(5, dim, generator=generator, dtype=torch.float64) for name, dim in dims.items()}
    loss = backward(network, stage.contrast(), stage.pairs_of(list(dims)), Pairs.of(x), 2)
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    assert found.keys() == dict(network.named_parameters()).keys()
    network.zero_grad()
    a, b = (network(name, {"x": x[name]}) for name in dims)
    assert network.temperature is not None
    naive = naive_soft(list(a), list(b), list(a), list(b), network.temperature())
    naive.backward()
    assert loss == pytest.approx(naive.item(), abs=1e-10)
    for name, p in network.named_parameters():
        torch.testing.assert_close(found[name], p.grad, atol=1e-9, rtol=0)
