"""One member of a model: its networks, the encoders that learn with them, and the branches that fitted themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from plait.base import machine
from plait.base.branch import FittedBranch
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.networks.base import Linear

#: Rows that are answered at a time.
ROWS = 4096


class Branches(nn.Module):
    """Several networks over the same rows, each over its own modalities, and the encoders that learn with them.

    Beside them stand the branches that fit themselves, once they have (``add``).
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        sources: Mapping[str, tuple[str, ...]],
        encoders: Mapping[str, nn.Module],
        waiting: Sequence[FittedBranch] = (),
        pairs: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        """``sources`` names each network's modalities; ``waiting`` are branches that are yet to fit themselves.

        ``pairs``: what compares two modalities; a network over several sees those of which it has both.
        """
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self.encoders = nn.ModuleDict(encoders)
        self.sources = dict(sources)
        self.pairs = dict(pairs or {})
        #: Branches that are yet to fit themselves, and those that have, by the name of their output.
        self.waiting = list(waiting)
        self.fitted: dict[str, FittedBranch] = {}
        #: Encoders that learn no more.
        self.resolved: set[str] = set()
        #: Encoders, or layers of them, that do not learn now: they stay in evaluation mode.
        self.resting: list[nn.Module] = []

    def add(self, branch: FittedBranch, names: Sequence[str]) -> None:
        """Take in a branch that has fitted itself on the modalities ``names``."""
        self.fitted[branch.name()] = branch
        self.sources |= branch.sources(names)

    def keep(self, names: Collection[str]) -> None:
        """Leave out every output but these."""
        self.sources = {name: sees for name, sees in self.sources.items() if name in names}
        self.networks = nn.ModuleDict({name: part for name, part in self.networks.items() if name in names})
        self.fitted = {name: branch for name, branch in self.fitted.items() if name in names}
        if not self.networks:
            self.encoders = nn.ModuleDict()

    def train(self, mode: bool = True) -> Branches:
        """Switch to training mode, except for parts that are kept frozen."""
        super().train(mode)
        for part in self.resting:
            part.eval()
        return self

    def encode(self, inputs: Inputs) -> dict[str, Tokens]:
        """Tokens of every modality, those of learning encoders computed now."""
        tokens = {**inputs.tokens, **inputs.compared}
        for name, encoder in self.encoders.items():
            if name in tokens:  # computed ahead, as it no longer learns
                continue
            tokens[name] = self._encoded(encoder, inputs.prepared[name]).absent_where(~inputs.present[name])
        return tokens

    def _encoded(self, encoder: nn.Module, prepared: Mapping[str, Tensor]) -> Tokens:
        """On a GPU an encoder trains in bf16; on a CPU those that gain by it do so themselves."""
        if not self.training or self.device.type == "cpu":
            alone: Tokens = encoder(prepared)
            return alone
        with machine.autocast(self.device):
            result = encoder(prepared)
        return Tokens(result.x.float(), result.mask)

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def branch(self, name: str, tokens: Mapping[str, Tokens]) -> Tensor:
        """Raw outputs (B, out_dim) of one branch."""
        out: Tensor = self.networks[name]({m: tokens[m] for m in self.reads(name)})
        return out

    def reads(self, name: str) -> tuple[str, ...]:
        """What a network is given: its modalities, and the pairs among them."""
        return (*self.sources[name], *pairs_among(self.sources[name], self.pairs))

    @torch.inference_mode()
    def outputs(
        self, inputs: Inputs, rows: int = ROWS, *, exact: bool = True, names: Collection[str] | None = None
    ) -> dict[str, Tensor]:
        """Raw outputs of every branch for all rows, in evaluation mode; not ``exact``: products in bf16, as in training.

        The rows are moved to the weights' device batch by batch; what comes out lies where the rows do. ``names``: only these.
        """
        self.eval()
        networks = [name for name in self.networks if names is None or name in names]
        fitted = [name for name in self.fitted if names is None or name in names]
        if not exact:
            for part in self.modules():
                if isinstance(part, Linear):
                    part.train()
        parts: dict[str, list[Tensor]] = {name: [] for name in (*networks, *fitted)}
        for start in range(0, max(1, len(inputs)), rows):  # no rows are a batch, too: it has the shape of an answer
            batch = inputs.take(torch.arange(start, min(start + rows, len(inputs))))
            tokens = self.encode(moved(batch, self.device)) if networks else {}
            for name in networks:
                parts[name].append(self.branch(name, tokens).to(batch.device))
            for name in fitted:
                parts[name].append(self.fitted[name].outputs(batch))
        return {name: torch.cat(result) for name, result in parts.items()}

    def outputs_under(
        self, inputs: Inputs, patterns: Sequence[Sequence[str]], wanted: Sequence[Collection[str]] | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Raw outputs with only the modalities of each pattern present, one pattern after the other.

        A branch answers again only where a modality that it sees comes or goes. ``wanted``: of each pattern only these branches.
        """
        known: dict[tuple[str, frozenset[str]], Tensor] = {}
        for place, pattern in enumerate(patterns):
            names = self.sources if wanted is None else [name for name in self.sources if name in wanted[place]]
            keys = {name: (name, frozenset(self.sources[name]) & frozenset(pattern)) for name in names}
            requested = [name for name, key in keys.items() if key not in known]
            if requested:
                given = inputs if len(pattern) == len(inputs.present) else inputs.only(pattern)
                known |= {keys[name]: out for name, out in self.outputs(given, names=requested).items()}
            yield {name: known[key] for name, key in keys.items()}

    def sees(self, name: str, present: Mapping[str, Tensor]) -> Tensor:
        """(B,) bool: rows that a branch can say something about."""
        return torch.stack([present[m] for m in self.sources[name]]).any(0)


def moved(batch: Inputs, device: torch.device) -> Inputs:
    """A batch on a device; of cells that rows share only those of the batch go there."""
    if batch.device.type == device.type:
        return batch
    batch = batch.unfolded()
    gathered = {k: {name: v[name] for name in v} for k, v in batch.prepared.items()}
    return Inputs(batch.tokens, gathered, batch.present).to(device)


def pairs_among(names: Collection[str], pairs: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """The pairs of which both parts are among the names.

    Example:
        >>> pairs_among(["a", "b"], {"a*b": ("a", "b"), "a*c": ("a", "c")})
        ('a*b',)
    """
    return tuple(name for name, parts in pairs.items() if set(parts) <= set(names))


def trained_weights(model: nn.Module) -> int:
    """Parameters that learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
