"""The contracts of what learns: branches and alignment stages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from plait.alignment.base import Alignment
from plait.alignment.batches import backward
from plait.alignment.learned import Learned
from plait.alignment.network import AlignmentNetwork, unit
from plait.alignment.pairs import Pairs
from plait.base.branch import Branch, FittedBranch, FoldRows, NetworkBranch
from plait.base.inputs import Columns, Inputs
from plait.base.tokens import Tokens
from plait.networks.linear import LinearNetwork

TASKS = ("classification", "multilabel", "regression")


def example_rows(task: str = "classification", n: int = 120, seed: int = 0) -> FoldRows:
    """Rows of a table (numbers, categories, nulls), an embedding and a flag, each absent now and then; the target knows both."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(n, 2, generator=generator)
    codes = torch.randint(-1, 4, (n, 2), generator=generator)
    x = torch.randn(n, 40, generator=generator)
    value = numbers[:, 0] + x[:, 0] + (codes[:, 0] == 1)
    numbers[torch.rand(n, generator=generator) < 0.2, 1] = float("nan")
    present = {name: torch.rand(n, generator=generator) < 0.85 for name in ("image", "tabular")}
    columns = Columns(numbers, codes, ("size", "weight"), ("colour", "maker"), (4, 4)).absent_where(~present["tabular"])
    table = torch.cat([numbers.nan_to_num(0.0), (codes == 1).float()], 1)
    tokens = {"image": Tokens.of_vectors(x, present["image"]), "tabular": Tokens.of_vectors(table, present["tabular"])}
    classes = (value > 0).long() + (value > 1).long()
    target = {
        "classification": classes,
        "multilabel": torch.stack([value > 0, value > 1], 1).float(),
        "regression": ((value - value.mean()) / value.std())[:, None],
    }[task]
    rows, cut = torch.arange(n), 3 * n // 4
    inputs = Inputs(tokens, {}, present, {"tabular": columns})
    out_dim = {"classification": 3, "multilabel": 2, "regression": 1}[task]
    return FoldRows(inputs, target, torch.ones(n), rows[:cut], rows[cut:], task, out_dim, seed)


def check_branch(make: Callable[[], Branch], rows: FoldRows | None = None) -> None:
    """Every promise of ``Branch`` for some rows; raises AssertionError at the first that is broken.

    Args:
        make: the class, or what makes one with options, such as ``functools.partial(Trees, rounds=20)``.
        rows: to learn from; None: ``example_rows`` of each task.
    """
    for each in (rows,) if rows is not None else map(example_rows, TASKS):
        branch = make()
        names = list(each.inputs.present)
        seen = branch.sources(names)
        assert seen, "it gives no output"
        assert all(name.split(":")[0] == branch.name() for name in seen), f"outputs {list(seen)} not named by it"
        json.dumps(branch.options())
        if isinstance(branch, NetworkBranch):
            _check_network(branch, each, seen)
        else:
            assert isinstance(branch, FittedBranch), "it is neither a NetworkBranch nor a FittedBranch"
            _check_fitted(make, each)


def _check_network(branch: NetworkBranch, rows: FoldRows, seen: dict[str, tuple[str, ...]]) -> None:
    dims = {name: tokens.dim for name, tokens in rows.inputs.tokens.items()}
    for sees in seen.values():
        own = {name: dims[name] for name in sees}
        network = branch.build(own, rows.out_dim, lambda over: LinearNetwork(over, rows.out_dim))
        out = network({name: rows.inputs.tokens[name] for name in sees})
        assert out.shape == (len(rows.inputs), rows.out_dim), f"shape {tuple(out.shape)}"
        out.sum().backward()
        without = [name for name, p in network.named_parameters() if p.grad is None]
        assert not without, f"no gradient reaches {without}"


def _check_fitted(make: Callable[[], Branch], rows: FoldRows) -> None:
    branch, again, restored = make(), make(), make()
    assert isinstance(branch, FittedBranch)
    assert isinstance(again, FittedBranch)
    assert isinstance(restored, FittedBranch)
    if (reason := branch.declines(rows)) is not None:
        assert len(reason.splitlines()) == 1, "why it declines is one line"
        return
    branch.fit(rows)
    out = branch.outputs(rows.inputs)
    assert out.shape == (len(rows.inputs), rows.out_dim), f"shape {tuple(out.shape)}"
    assert len({tuple(row) for row in out.tolist()}) > 1, "all rows are answered alike"
    for pattern in ((), *((name,) for name in rows.inputs.present)):
        assert bool(torch.isfinite(branch.outputs(rows.inputs.only(pattern))).all()), (
            f"not finite with {pattern} present"
        )
    gone = rows.inputs.only(["image"])
    garbage = {
        name: Tokens(torch.full_like(tokens.x, 9e9), tokens.mask) if name == "tabular" else tokens
        for name, tokens in gone.tokens.items()
    }
    _same(branch.outputs(gone), branch.outputs(dataclasses.replace(gone, tokens=garbage)), "what is absent matters")
    _same(out[3:9], branch.outputs(rows.inputs.take(torch.arange(3, 9))), "other rows matter")
    assert len(branch.outputs(rows.inputs.take(torch.arange(0)))) == 0, "no rows are no answers"
    again.fit(rows)
    _same(out, again.outputs(rows.inputs), "the same seed gives other numbers")
    arrays, facts = branch.state()
    assert all(isinstance(a, np.ndarray) and a.dtype.kind in "biuf" for a in arrays.values()), (
        "state: arrays of numbers"
    )
    restored.load_state({k: a.copy() for k, a in arrays.items()}, json.loads(json.dumps(facts)))
    assert torch.equal(out, restored.outputs(rows.inputs)), "what was saved answers otherwise"
    assert branch.weights() > 0, "nothing was learned"


def _same(a: Tensor, b: Tensor, complaint: str) -> None:
    assert torch.allclose(a, b, atol=1e-5), complaint


def example_pairs(dims: Mapping[str, int], rows: int = 60, seed: int = 0) -> Pairs:
    """Noisy linear views of one hidden vector per row; a sixth of the rows lacks each modality, two rows are about one thing."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 4, generator=generator)
    x, present = {}, {}
    for place, (name, dim) in enumerate(dims.items()):
        x[name] = hidden @ torch.randn(4, dim, generator=generator) + 0.1 * torch.randn(rows, dim, generator=generator)
        present[name] = torch.arange(rows) % 6 != place % 6
    thing = torch.arange(rows)
    thing[-1] = thing[-2]
    return Pairs.of(x, present, thing)


def check_alignment(stage: Alignment, dims: Mapping[str, int]) -> None:
    """Every promise of an alignment stage for modalities of these widths; AssertionError at the first that is broken."""
    pairs = example_pairs(dims)
    network = _aligned(stage, dims, pairs)
    garbage = {n: batch["x"].masked_fill(~pairs.present[n][:, None], float("nan")) for n, batch in pairs.x.items()}
    short = dataclasses.replace(stage, epochs=2) if isinstance(stage, Learned) else stage
    same = [_aligned(short, dims, result) for result in (pairs, Pairs.of(garbage, pairs.present, pairs.thing))]
    restored = stage.network(dims).eval()
    restored.load_state_dict(network.state_dict())
    with torch.no_grad():
        for name, batch in pairs.x.items():
            x, out = batch["x"], network(name, batch)
            assert out.shape == (len(pairs), network.out_dim), f"shape {tuple(out.shape)}, out_dim {network.out_dim}"
            _same(out[3:5], network(name, {"x": x[3:5]}), "other rows matter")
            assert torch.isfinite(network(name, {"x": torch.zeros_like(x[:1])})).all(), "a zero vector is not finite"
            _same(
                same[0](name, batch),
                same[1](name, batch),
                "what an absent row holds matters, or the seed does not decide",
            )
            assert torch.equal(out, restored(name, batch)), "other numbers after saving and loading"
    for a, b in stage.pairs_of(list(dims)):
        rows = pairs.take(pairs.both(a, b))
        first, second = (network(s.name, rows.x[s.name], s.towards) for s in (network.side(a, b), network.side(b, a)))
        similar = (unit(first) @ unit(second).T).detach()
        others = (similar.sum() - similar.trace()) / (len(similar) * (len(similar) - 1))
        assert similar.diagonal().mean() > others + 0.1, f"{a} and {b} stay apart"
    if isinstance(stage, Learned):
        network = stage.network(dims).train()
        backward(network, stage.contrast(), stage.pairs_of(list(dims)), pairs, len(pairs))
        without = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
        assert not without, f"no gradient reaches {without}"
        check_alive(network)


#: A row of weights whose gradient is below this share of the usual one learns nothing.
_DEAD = 1e-5


def check_alive(module: nn.Module) -> None:
    """No parameter has more than half of its rows without a gradient worth the name, compared with all others.

    Half: of attention's queries, keys and values in one matrix a key's bias never matters (softmax), queries and keys must.
    """
    rows = {
        name: p.grad.reshape(p.shape[0] if p.ndim else 1, -1).square().mean(1).sqrt()
        for name, p in module.named_parameters()
        if p.grad is not None
    }
    usual = torch.stack([part.max() for part in rows.values()]).median()
    dead = [name for name, part in rows.items() if float((part < _DEAD * usual).float().mean()) > 0.5]
    assert not dead, f"hardly any gradient reaches {dead}: they would never learn"


def _aligned(stage: Alignment, dims: Mapping[str, int], pairs: Pairs) -> AlignmentNetwork:
    torch.manual_seed(0)
    network = stage.network(dims)
    stage.fit(network, pairs, seed=0, progress=False)
    return network
