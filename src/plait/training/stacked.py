"""Members of a small table trained together: each weight of all members is one array, each step one pass for all of them.

A step on 64 rows costs a CPU more in calls than in arithmetic, so five members cost five times the calls. Stacked they
cost them once: on Pokemon (five members of five networks) training takes a third of the processor's time. It is the training of
``plait.training.loop`` otherwise: a batch of each member's own rows, its own norm of gradients, its own best epoch per branch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from plait.base.inputs import Inputs
from plait.branches.branches import Branches
from plait.branches.stacked import Best, StackedBranch, Weights, layers_of
from plait.networks.layers import Masks
from plait.networks.tasks import Task
from plait.training import checkpoint
from plait.training.loop import Diverged, Training, Watch, batch_edges
from plait.training.optimiser import LIMIT, AdamW

#: Largest batch of all members together that is stacked; beyond it a thread per member is faster.
LARGEST = 1024


def stackable(members: Sequence[Branches], folds: Sequence[tuple[Tensor, Tensor]], settings: Training) -> bool:
    """Whether these members can be, and are worth being, trained together."""
    model = members[0]
    return (
        len(members) > 1
        and not model.encoders
        and settings.batch_size * len(members) <= LARGEST
        and min(len(fold) for fold, _ in folds) > 1
        and all(layers_of(network) is not None for network in model.networks.values())
    )


class _Rows:
    """All rows as one array of features, zero where absent, and where each modality lies in it."""

    def __init__(self, inputs: Inputs, target: Tensor, weight: Tensor) -> None:
        self.names = sorted(inputs.tokens)
        parts = [inputs.tokens[name].pooled() for name in self.names]
        ends = torch.tensor([p.shape[1] for p in parts]).cumsum(0).tolist()
        self.place = {n: (e - p.shape[1], e) for n, e, p in zip(self.names, ends, parts, strict=True)}
        self.x = torch.cat(parts, 1)  # (n, D)
        self.present = torch.stack([inputs.present[name] for name in self.names], 1)  # (n, modalities)
        self.device = self.x.device
        self.whole = dict(zip(self.names, self.present.all(0).tolist(), strict=True))
        self.target, self.weight = target, weight

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (M, B, D), present (M, B, modalities), targets (M * B, ...), weights (M, B) of rows (M, B)."""
        rows = rows.to(self.device)
        flat = rows.flatten()
        x = self.x.index_select(0, flat).view(*rows.shape, -1)
        present = self.present.index_select(0, flat).view(*rows.shape, -1)
        return x, present, self.target.index_select(0, flat), self.weight.index_select(0, flat).view(rows.shape)


class Stack:
    """The members' branches, stacked, and their training."""

    def __init__(
        self,
        members: Sequence[Branches],
        task: Task,
        inputs: Inputs,
        target: Tensor,
        weight: Tensor,
        settings: Training,
    ) -> None:
        """Take over the members' weights."""
        self.members, self.task, self.settings = members, task, settings
        self.sources = members[0].sources
        self.branches = nn.ModuleDict(
            {name: StackedBranch([m.networks[name] for m in members]) for name in members[0].networks}
        )
        device = members[0].device
        self.rows = _Rows(inputs.to(device), target.to(device), weight.to(device))
        self.hides = settings.modality_dropout.hides(self.rows.names)

    def train(
        self,
        folds: Sequence[tuple[Tensor, Tensor]],
        generator: torch.Generator,
        stopped: Callable[[], bool] = lambda: False,
        watch: Watch | None = None,
    ) -> list[dict[str, Any]]:
        """Train on each member's fold, keep its best state per branch by its held-out rows; give the weights back.

        A member that diverged keeps its best state while the others go on; its records say ``diverged`` from then on.

        Returns:
            One record per member and epoch, as ``plait.training.loop.train`` gives them, with ``member``.

        Raises:
            Diverged: a member did before it had a state to keep.
        """
        watch = watch or Watch()
        edges = batch_edges(min(len(fold) for fold, _ in folds), self.settings.batch_size)
        optimiser = AdamW(
            self.branches.parameters(),
            self.settings.learning_rate,
            self.settings.weight_decay,
            (len(edges) - 1) * self.settings.epochs,
            warmup=self.settings.warmup,
        )
        masks = Masks(generator)
        held = _padded([valid for _, valid in folds])
        best = Best(self.branches, len(folds), self.settings.patience, judged=held is not None)
        history: list[dict[str, Any]] = []
        parts: dict[str, checkpoint.Kept] = {"branches": Weights(best.parts), "best": best}
        kept = checkpoint.Training(parts, optimiser, generator, masks, history, watch.checkpoint)
        ended, halted = kept.resume(), False
        for epoch in range(len(history) // len(folds), self.settings.epochs):
            if ended or halted:
                break
            record = self._epoch(folds, edges, held, optimiser, masks, generator)
            result = _records({"epoch": epoch, **record}, len(folds))
            history.extend(result)
            best.offer(record.get("valid", record["train"]), epoch)
            if lost := next((one for one in result if "diverged" in one and not best.good(one["member"])), None):
                raise Diverged(epoch, lost["train_loss"], history, None, lost["diverged"])
            self._watched(result, watch)
            alive = any("diverged" not in one for one in result)
            ended, halted = best.done(epoch) or not alive, stopped()
            if not ended:
                kept.keep()
        best.restore()
        self._give_back()
        if not halted:
            kept.keep(ended=True)
        return history

    def _epoch(
        self,
        folds: Sequence[tuple[Tensor, Tensor]],
        edges: Sequence[int],
        held: tuple[Tensor, Tensor] | None,
        optimiser: AdamW,
        masks: Masks,
        generator: torch.Generator,
    ) -> dict[str, Any]:
        """Losses of each branch and member (M,) on both parts; seconds are a member's share."""
        clock, size, members = time.perf_counter(), edges[-1], len(folds)
        order = torch.stack([fold[torch.randperm(len(fold), generator=generator)[:size]] for fold, _ in folds])
        batches = [order[:, a:b] for a, b in pairwise(edges)]
        record: dict[str, Any] = {"train": _mean_of([self._step(b, optimiser, masks, generator) for b in batches])}
        record["seconds"] = {"train": (time.perf_counter() - clock) / members}
        record["batches"] = {"train": len(batches)}
        if held is not None:
            clock = time.perf_counter()
            record["valid"] = self._judged(*held)
            record["seconds"]["valid"], record["batches"]["valid"] = (time.perf_counter() - clock) / members, 1
        return record

    def _watched(self, records: Sequence[dict[str, Any]], watch: Watch) -> None:
        """Score each member as a network of its own, and tell of its epoch."""
        if watch.score is not None:
            self._give_back()
        for record, member in zip(records, self.members, strict=True):
            if watch.score is not None:
                record["metrics"] = watch.score(record["member"], member)
            if watch.callback is not None:
                watch.callback(record)

    def _give_back(self) -> None:
        for name, branch in self._named():
            branch.give_back([member.networks[name] for member in self.members])

    def _named(self) -> list[tuple[str, StackedBranch]]:
        return [(n, b) for n, b in self.branches.items() if isinstance(b, StackedBranch)]

    def _step(self, rows: Tensor, optimiser: AdamW, masks: Masks, generator: torch.Generator) -> dict[str, Tensor]:
        self.branches.train()
        x, present, target, weight = self.rows.take(rows)
        if self.settings.input_dropout > 0:
            x = x * masks.take(x.shape, self.settings.input_dropout, x.device)
        hidden = self._hidden(x, present, generator)
        losses = {}
        for name, branch in self._named():
            own = len(self.sources[name]) == 1
            losses[name] = self._losses(name, branch, x if own else hidden, present, target, weight, masks)
        optimiser.clear()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        self._clip()
        optimiser.step(None)
        return {name: loss.detach() for name, loss in losses.items()}

    def _hidden(self, x: Tensor, present: Tensor, generator: torch.Generator) -> Tensor:
        """Features with whole modalities hidden from single rows."""
        if not self.hides:
            return x
        kept = self.settings.modality_dropout.shown(self.rows.names, present.shape[:-1], generator).to(x)
        parts = [
            x[..., a:b] * kept[..., i : i + 1] for i, (a, b) in enumerate(self.rows.place[n] for n in self.rows.names)
        ]
        return torch.cat(parts, 2)

    def _losses(
        self,
        name: str,
        branch: StackedBranch,
        x: Tensor,
        present: Tensor,
        target: Tensor,
        weight: Tensor,
        masks: Masks | None,
    ) -> Tensor:
        """Weighted mean loss of each member (M,); a branch over one modality learns from the rows that have it."""
        sources = self.sources[name]
        there = None
        if len(sources) == 1:
            a, b = self.rows.place[sources[0]]
            x = x[..., a:b]
            if not self.rows.whole[sources[0]]:
                there = present[..., self.rows.names.index(sources[0])]
                weight = weight * there
        out = branch(x, there, masks)  # (M, B, out_dim)
        smoothing = self.settings.smoothing if masks is not None else 0.0
        losses = self.task.row_loss(out.flatten(0, 1), target, smoothing).view(weight.shape)
        return (losses * weight).sum(1) / weight.sum(1).clamp_min(1e-12)

    def _clip(self) -> None:
        """Hold the norm of each member's gradients below the limit."""
        gradients = [p.grad for p in self.branches.parameters() if p.grad is not None]
        norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()  # (M,)
        if bool((norms > LIMIT).any()):
            factor = (LIMIT / norms.clamp_min(1e-6)).clamp_max(1.0)
            for g in gradients:
                g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))

    @torch.inference_mode()
    def _judged(self, rows: Tensor, counts: Tensor) -> dict[str, Tensor]:
        """Loss of each branch and member on its held-out rows (M,)."""
        self.branches.eval()
        x, present, target, weight = self.rows.take(rows)
        weight = weight * counts.to(weight.device)
        seen = {n: present[..., self.rows.names.index(n)] for n in self.rows.names}
        result = {}
        for name, branch in self._named():
            sees = torch.stack([seen[m] for m in self.sources[name]]).any(0)
            result[name] = self._losses(name, branch, x, present, target, weight * sees, None)
        return result


def _padded(held: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Held-out rows (M, longest) and which of them count; None where there are none."""
    longest = max(len(rows) for rows in held)
    if not longest:
        return None
    rows = torch.zeros(len(held), longest, dtype=torch.long)
    counts = torch.zeros(len(held), longest)
    for i, result in enumerate(held):
        rows[i, : len(result)], counts[i, : len(result)] = result, 1.0
    return rows, counts


def _mean_of(losses: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([batch[name] for batch in losses]).mean(0) for name in losses[0]}


def _records(record: Mapping[str, Any], members: int) -> list[dict[str, Any]]:
    """One record per member, in the words of ``plait.training.loop``."""
    result = []
    for member in range(members):
        one: dict[str, Any] = {"member": member, "epoch": record["epoch"]}
        lost: set[str] = set()
        for part in ("train", "valid"):
            if part in record:
                losses = {name: float(values[member]) for name, values in record[part].items()}
                one |= {f"{part}_loss": sum(losses.values()) / len(losses), part: losses}
                lost |= {name for name, loss in losses.items() if not math.isfinite(loss)}
        one |= {"seconds": dict(record["seconds"]), "batches": dict(record["batches"])}
        result.append(one | ({"diverged": sorted(lost)} if lost else {}))
    return result
