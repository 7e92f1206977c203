"""A fitted model as one module of tensors: the file's inputs in, probabilities or values and answers out."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from plait.alignment.enhancement import Enhancer
from plait.base.errors import ConfigError
from plait.base.inputs import Columns, Comparison, Inputs
from plait.base.tokens import Tokens
from plait.branches.branches import Branches
from plait.branches.mixture import Mixture, comparable
from plait.branches.solved import SolvedBranch
from plait.branches.trees import Trees
from plait.data.cells import texts_of
from plait.data.modality import Schema
from plait.encoders.featurize import Featurizer
from plait.encoders.ngrams import SCALED, Ngrams, beside
from plait.encoders.scale import Scaler
from plait.encoders.shape import FARTHEST
from plait.encoders.tabular import Tabular
from plait.exporting.columns import TableGraph
from plait.exporting.forest import TreesGraph
from plait.exporting.onnx_file import InputSpec, fed_prepared, fed_tokens, prepared_inputs, token_inputs, words_inputs
from plait.networks.conv_lstm import ConvLSTM
from plait.networks.tasks import Classification, Multilabel, Regression, Task
from plait.training.member import Members

#: Modalities beyond which a table of all patterns of presence would be larger than the networks.
MOST = 12


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The parts of a fitted model that answer.

    Attributes:
        schema: modalities in order.
        features: encoders.
        enhancers: of aligned modalities.
        scalers: of frozen modalities.
        members: networks, trees, mixture and task.
        pairs: what compares two modalities.
    """

    schema: Schema
    features: Featurizer
    enhancers: Mapping[str, Enhancer]
    scalers: Mapping[str, Scaler]
    members: Members
    pairs: Mapping[str, Comparison] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The modalities in order."""
        return [m.name for m in self.schema.modalities]


def problems(fitted: Fitted) -> list[str]:
    """What of a model cannot be exported, each in a few words; asked before anything is written."""
    result = []
    if len(fitted.names) > MOST:
        result.append(f"{len(fitted.names)} modalities, at most {MOST} can be exported")
    for modality in fitted.schema.modalities:
        encoder = fitted.features.encoders[modality.name]
        if modality.kind == "tabular" and not isinstance(encoder, Tabular):
            result.append(f"the encoder '{encoder.name()}' of the table '{modality.name}'")
    for name, branch in fitted.members.members[0].fitted.items():
        if not isinstance(branch, Trees | SolvedBranch):
            result.append(f"the branch '{name}', which is no network, no solved map and no trees")
    if any(isinstance(part, ConvLSTM) for part in fitted.members.members[0].networks.values()):
        result.append("the network 'conv_lstm', whose steps depend on each sound's length")
    return result


class ModelGraph(nn.Module):
    """The whole model; ``forward`` takes the arrays of ``specs`` in their order.

    Raises:
        ConfigError: something in the model cannot be exported; the message names it.
    """

    def __init__(self, fitted: Fitted) -> None:
        super().__init__()
        if said := problems(fitted):
            raise ConfigError(f"export: this model cannot be exported to ONNX: {'; '.join(said)}")
        self.fitted = fitted
        self.task: Task = fitted.members.task
        self.joint = {name for name, enhancer in fitted.enhancers.items() if enhancer.spec.joint is not None}
        encoders = fitted.features.encoders
        self.learning = [m.name for m in fitted.schema.modalities if m.learns]
        tables = {
            m.name: TableGraph(m.name, encoder)
            for m in fitted.schema.modalities
            if isinstance(encoder := encoders[m.name], Tabular) and m.kind == "tabular"
        }
        self.tables = nn.ModuleDict(tables)
        self.own_specs: dict[str, list[InputSpec]] = {}
        for name in fitted.names:
            if name in tables:
                self.own_specs[name] = tables[name].specs()
            elif name in self.learning:
                self.own_specs[name] = prepared_inputs(name, encoders[name])
            else:
                self.own_specs[name] = token_inputs(name, encoders[name], encoders[name].dim)
            if words := fitted.features.ngrams.get(name):
                self.own_specs[name] += words_inputs(name, words)
        self.specs = [spec for specs in self.own_specs.values() for spec in specs]
        self.scalers = nn.ModuleDict({name: _ScalerGraph(scaler) for name, scaler in fitted.scalers.items()})
        pulled = {n: e.network for n, e in fitted.enhancers.items() if n in fitted.names and n not in self.joint}
        self.enhancers = nn.ModuleDict({name: copy.deepcopy(network).cpu() for name, network in pulled.items()})
        self.words = nn.ModuleDict({name: _WordsGraph(words) for name, words in fitted.features.ngrams.items()})
        self.members = nn.ModuleList([_MemberGraph(member) for member in fitted.members.members])
        self.mixture = _MixtureGraph(fitted.members.mixture, self.task)
        self.eval()

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """``probabilities`` (n, C) and ``answer`` (n,) or (n, C); of a number ``value`` (n,) twice."""
        inputs = self.inputs({spec.name: x for spec, x in zip(self.specs, given, strict=True)})
        total: dict[str, Tensor] = {}
        for member in self.members:
            for name, out in member(inputs).items():
                total[name] = total[name] + out if name in total else out
        mean = {name: out / len(self.members) for name, out in total.items()}
        place = self.mixture.place(inputs.present)
        decoded = _decoded(self.task, self.mixture(mean, place))
        return decoded, self.mixture.answer(decoded, place)

    def inputs(self, given: Mapping[str, Tensor]) -> Inputs:
        """The rows as the networks take them."""
        tokens, columns = dict[str, Tokens](), dict[str, Columns]()
        prepared, present = dict[str, Mapping[str, Tensor]](), dict[str, Tensor]()
        for name in self.fitted.names:
            if name in self.tables:
                tokens[name], columns[name], present[name] = self.tables[name](given)
            elif name in self.learning:
                arrays = [s.name for s in self.own_specs[name] if not s.name.endswith(".present")]
                present[name] = given[f"{name}.present"]
                prepared[name] = {key.rpartition(".")[2]: given[key] for key in arrays} | {
                    "present": present[name][:, None]
                }
            else:
                tokens[name] = Tokens(given[name], given[f"{name}.mask"])
                present[name] = tokens[name].present
        for name, network in self.enhancers.items():
            tokens[name] = self._pulled(name, network, tokens[name])
        for name in self.joint & set(tokens):
            prepared[name] = {"x": tokens.pop(name).pooled().float()}
        scaled = {name: self.scalers[name](t) for name, t in tokens.items()}
        for name, words in self.words.items():
            more = words(name, given)[:, None] * scaled[name].mask[..., None]
            scaled[name] = Tokens(torch.cat([scaled[name].x, more], 2), scaled[name].mask)
        sizes = {name: words.dim for name, words in self.fitted.features.ngrams.items()}
        return Inputs(scaled, prepared, present, columns, self.fitted.pairs, sizes)

    def _pulled(self, name: str, network: nn.Module, tokens: Tokens) -> Tokens:
        x = tokens.pooled()
        out: Tensor = network(name, {"x": x})
        keep = self.fitted.enhancers[name].spec.keep
        return Tokens.of_vectors(torch.cat([x, out], 1) if keep else out, tokens.present)

    def feed(self, frame: pd.DataFrame, raw: Inputs) -> dict[str, np.ndarray]:
        """The file's inputs for rows of a table and what their encoders gave, unscaled."""
        result: dict[str, np.ndarray] = {}
        for name in self.fitted.names:
            if name in self.tables:
                table = self.tables[name]
                assert isinstance(table, TableGraph)
                result |= table.feed(frame, raw.present[name].numpy())
            elif name in self.learning:
                result |= fed_prepared(name, self.own_specs[name], raw)
            else:
                result |= fed_tokens(name, raw)
            if words := self.fitted.features.ngrams.get(name):
                texts = texts_of(frame, next(m for m in self.fitted.schema.modalities if m.name == name))
                counts = words.counts(*texts)
                result |= {
                    f"{name}.{kind}": part if kind == "shape" else part.toarray().astype(np.int32)
                    for kind, part in counts.items()
                }
        return result


def _decoded(task: Task, out: Tensor) -> Tensor:
    """``task.decode`` in operators that ONNX has."""
    if isinstance(task, Classification) and task.unlearned:
        gone = torch.tensor([i in task.unlearned for i in range(task.out_dim)])
        return out.masked_fill(gone, -torch.inf).softmax(-1)
    return task.decode(out.double() if task.name == "regression" else out)  # 32 bits hold no second since 1970


class _ScalerGraph(nn.Module):
    """A ``Scaler`` whose arrays are buffers."""

    mean: Tensor
    scale: Tensor
    axes: Tensor | None

    def __init__(self, scaler: Scaler) -> None:
        super().__init__()
        self.standardise = scaler.standardise
        self.register_buffer("mean", scaler.mean)
        self.register_buffer("scale", scaler.scale)
        self.register_buffer("axes", scaler.axes)

    def forward(self, tokens: Tokens) -> Tokens:
        x = ((tokens.x - self.mean) * self.scale).clamp(-10, 10) if self.standardise else tokens.x
        return Tokens(x if self.axes is None else x @ self.axes, tokens.mask)


class _WordsGraph(nn.Module):
    """``Ngrams`` from counts and measures (n, b) on."""

    def __init__(self, words: Ngrams) -> None:
        super().__init__()
        self.kinds = list(words.parts)
        for kind, one in words.parts.items():
            for field in dataclasses.fields(one):
                values = torch.from_numpy(getattr(one, field.name).astype(np.float32))
                self.register_buffer(f"{kind}_{field.name}", values)

    def forward(self, name: str, given: Mapping[str, Tensor]) -> Tensor:
        numbers = {kind: self._numbers(kind, given[f"{name}.{kind}"].float()) for kind in self.kinds}
        result: Tensor = beside(numbers, lambda parts: torch.cat(parts, 1))
        return result

    def _numbers(self, kind: str, x: Tensor) -> Tensor:
        centre: Tensor = getattr(self, f"{kind}_centre")
        if kind in SCALED:
            x = x if kind == "shape" else x.log1p()
            scale: Tensor = getattr(self, f"{kind}_scale")
            return ((x - centre) * scale).clamp(-FARTHEST, FARTHEST)
        rows = torch.where(x > 0, 1 + x.clamp(min=1).log(), 0.0) * getattr(self, f"{kind}_rarity")
        length = rows.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)
        result: Tensor = (rows / length) @ getattr(self, f"{kind}_axes") - centre
        return result


class _MemberGraph(nn.Module):
    """Networks, learning encoders and trees of one member."""

    def __init__(self, member: Branches) -> None:
        super().__init__()
        self.networks, self.encoders = copy.deepcopy(member.networks).cpu(), copy.deepcopy(member.encoders).cpu()
        self.reads = {name: member.reads(name) for name in member.networks}
        for name, branch in member.fitted.items():
            if isinstance(branch, SolvedBranch) and branch.network is not None:
                self.networks[name] = copy.deepcopy(branch.network)
                self.reads[name] = tuple(branch.names)
        trees = {name: TreesGraph(branch) for name, branch in member.fitted.items() if isinstance(branch, Trees)}
        self.trees = nn.ModuleDict(trees)
        _without_rms_norm(self)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        tokens = {**inputs.tokens, **inputs.compared}
        for name, encoder in self.encoders.items():
            tokens[name] = encoder(inputs.prepared[name]).absent_where(~inputs.present[name])
        result = {name: network({m: tokens[m] for m in self.reads[name]}) for name, network in self.networks.items()}
        return result | {name: tree(inputs) for name, tree in self.trees.items()}


class _RMSNorm(nn.Module):
    """``nn.RMSNorm`` in operators of the opset."""

    def __init__(self, norm: nn.RMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps if norm.eps is not None else torch.finfo(torch.float32).eps

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight
        return result


def _without_rms_norm(module: nn.Module) -> None:
    for name, part in module.named_children():
        if isinstance(part, nn.RMSNorm):
            setattr(module, name, _RMSNorm(part))
        else:
            _without_rms_norm(part)


class _MixtureGraph(nn.Module):
    """The mixture as a table: a row of weights, and of thresholds, for each of the 2^M patterns of presence."""

    weights: Tensor
    prior: Tensor
    centre: Tensor
    limits: Tensor
    decides: Tensor

    def __init__(self, mixture: Mixture, task: Task) -> None:
        super().__init__()
        self.names, self.branches, self.task = mixture.names, list(mixture.sources), task
        patterns = [
            [name for i, name in enumerate(self.names) if place >> i & 1] for place in range(1 << len(self.names))
        ]
        weights = [mixture.weights_for(tuple(pattern)) if pattern else {} for pattern in patterns]
        rows = [[result.get(name, 0.0) for name in self.branches] for result in weights]
        self.register_buffer("weights", torch.tensor(rows, dtype=torch.float32))
        self.register_buffer("prior", torch.tensor(mixture.prior, dtype=torch.float32))
        self.register_buffer("centre", mixture.centre(task))
        usual = (task.thresholds if isinstance(task, Multilabel) else ()) or (0.5,) * task.out_dim
        present = np.array([[name in pattern for name in self.names] for pattern in patterns])
        self.register_buffer("limits", torch.from_numpy(mixture.thresholds_at(present, np.asarray(usual))).float())
        decides = task.decides if isinstance(task, Classification) else np.zeros(0)
        self.register_buffer("decides", torch.from_numpy(decides).float())

    def place(self, present: Mapping[str, Tensor]) -> Tensor:
        """(n,) each row's pattern, a bit for each modality."""
        return torch.stack([present[name].long() * (1 << i) for i, name in enumerate(self.names)]).sum(0)

    def forward(self, outputs: Mapping[str, Tensor], place: Tensor) -> Tensor:
        weights = self.weights[place]  # (n, H)
        mixed = torch.stack(
            [
                (comparable(outputs[n], self.task) - self.centre) * weights[:, i, None]
                for i, n in enumerate(self.branches)
            ]
        )
        return torch.where((place == 0)[:, None], self.prior, self.centre + mixed.sum(0))

    def answer(self, decoded: Tensor, place: Tensor) -> Tensor:
        """What ``predict`` reads from it: the place of a class (n,), indicators (n, C), or the value."""
        if isinstance(self.task, Multilabel):
            return (decoded >= self.limits[place]).long()
        if not isinstance(self.task, Classification):
            return decoded
        if not self.decides.numel():
            return decoded.argmax(1)
        return (decoded @ self.decides).argmin(1) if self.decides.ndim == 2 else (decoded * self.decides).argmax(1)


def output_names(task: Task) -> Sequence[str]:
    """Of the file's outputs."""
    return ("value",) if isinstance(task, Regression) else ("probabilities", "answer")
