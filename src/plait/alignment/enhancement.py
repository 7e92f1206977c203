"""What ``align`` asks of an estimator: modalities pulled towards their anchors, before the networks or with them."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.alignment.base import Stop, never
from plait.alignment.batches import couples_of, embed, heat, sides_of
from plait.alignment.hardest_negatives import HardestNegatives
from plait.alignment.network import AlignmentNetwork, FrozenNetwork
from plait.alignment.pairs import Pairs
from plait.base import checks, config
from plait.base.checks import Positive
from plait.base.encoder import KINDS, Encoder
from plait.base.errors import ConfigError, nearest
from plait.base.inputs import Inputs
from plait.base.machine import seeded
from plait.base.tokens import Tokens
from plait.data.modality import Schema
from plait.encoders.featurize import Featurizer
from plait.store.model_files import under
from plait.training.member import OwnLoss


@dataclasses.dataclass(frozen=True)
class Enhancer:
    """The projector that pulls one modality towards its anchors, fitted."""

    spec: Enhancement
    network: AlignmentNetwork
    record: Mapping[str, Any]

    @property
    def encoder(self) -> JointEncoder | None:
        """What learns with the classifier, where the enhancement is joint."""
        if self.spec.joint is None:
            return None
        assert isinstance(self.network, FrozenNetwork)
        return JointEncoder(self.spec, self.network)

    @torch.inference_mode()
    def __call__(self, tokens: Tokens) -> Tokens:
        """One token per row: the aligned vector, and with ``keep`` the features it was made of."""
        x = tokens.pooled()
        out: Tensor = self.network(self.spec.modality, {"x": x})
        return Tokens.of_vectors(torch.cat([x, out], 1) if self.spec.keep else out, tokens.present)


def parse(align: Mapping[str, object] | None, schema: Schema) -> list[Enhancement]:
    """What ``align`` says, checked against the modalities before anything is encoded."""
    if align is None:
        return []
    if not isinstance(align, Mapping):
        raise ConfigError(f"align: expected modality -> anchors, as in {{tabular: [text, image]}}, found {align!r}")
    names = [m.name for m in schema.modalities]
    learning = {m.name for m in schema.modalities if m.learns}
    config.check_fields(align, names, "align")
    result = [_enhancement(modality, value, names, learning) for modality, value in align.items()]
    for name in dropped(result):
        if name in align:
            raise ConfigError(
                f"align.{name}: '{name}' is dropped once it has been an anchor; it cannot be pulled itself"
            )
    return result


def dropped(values: Sequence[Enhancement]) -> set[str]:
    """Modalities that the classifier does not see."""
    return {name for enhancement in values for name in enhancement.drop}


def _enhancement(modality: str, value: Any, names: Sequence[str], learning: set[str]) -> Enhancement:
    where = f"align.{modality}"
    options = dict(value) if isinstance(value, Mapping) else {"anchors": value}
    anchors = options.get("anchors")
    anchors = [anchors] if isinstance(anchors, str) else anchors
    if not isinstance(anchors, list | tuple) or not anchors:
        raise ConfigError(f"{where}: expected a list of anchors, as in [text, image], found {options.get('anchors')!r}")
    for anchor in anchors:
        if anchor == modality:
            raise ConfigError(f"{where}: '{modality}' cannot be its own anchor; name another modality")
        if anchor not in names:
            raise ConfigError(f"{where}: unknown anchor '{anchor}': {nearest(str(anchor), names)}")
    for name in (modality, *anchors):
        if name in learning:
            raise ConfigError(f"{where}: '{name}' has an encoder that learns; only frozen modalities are aligned")
    stage = check_options(modality, value)
    keep, joint, drop = options.get("keep", False), options.get("joint"), options.get("drop", False)
    drop = list(anchors) if drop is True else [] if drop is False else [drop] if isinstance(drop, str) else drop
    if not isinstance(drop, list | tuple) or not all(name in anchors for name in drop):
        raise ConfigError(
            f"{where}: drop must be true, false or some of the anchors {', '.join(anchors)}; found {drop!r}"
        )
    return Enhancement(modality, stage, keep, None if joint is None else float(joint), tuple(drop))


def check_options(modality: str, value: object) -> HardestNegatives:
    """The stage that ``align`` asks of one modality; of its anchors only that there are some is checked."""
    where = f"align.{modality}"
    options = dict(value) if isinstance(value, Mapping) else {"anchors": value}
    own = {name: options.pop(name) for name in ("keep", "joint", "drop") if name in options}
    checks.refuse(checks.problems(Enhancement, {k: v for k, v in own.items() if k != "drop"}), where)
    anchors = options.get("anchors")
    return config.build(HardestNegatives, {**options, "anchors": anchors if anchors is not None else ()}, where)


def fit(
    values: Sequence[Enhancement], inputs: Inputs, seed: int, progress: bool | None, stopped: Stop = never
) -> dict[str, Enhancer]:
    """Train a projector for each modality; rows that lack it or an anchor are left out for that anchor.

    Of a joint one only the statistics of the features are learned here.
    """
    result = {}
    for enhancement in values:
        start = time.perf_counter()
        pairs = pairs_of(inputs, enhancement.names)
        network = untrained(enhancement, pairs.dims, seed)
        record: dict[str, Any] = {"anchors": list(enhancement.stage.anchors)}
        if enhancement.joint is not None:
            pairs.check(enhancement.stage.pairs_of(enhancement.names))
            network.learn_inputs(pairs)
            record["joint"] = enhancement.joint
        else:
            history = enhancement.stage.fit(network, pairs, seed=seed, progress=progress, stopped=stopped)
            record |= {"trained_weights": sum(p.numel() for p in network.parameters()), "epochs": len(history)}
            record["train_loss"] = history[-1]["train_loss"]
            record["valid_loss"] = min((r["valid_loss"] for r in history if "valid_loss" in r), default=None)
            record["seconds"] = round(time.perf_counter() - start, 3)
        result[enhancement.modality] = Enhancer(enhancement, network, record)
    return result


def pairs_of(inputs: Inputs, names: Sequence[str]) -> Pairs:
    """The pooled features of some modalities; rows that are equal in one are no negatives of each other."""
    for name in names:
        if name not in inputs.tokens:
            raise ConfigError(f"align: '{name}' has no features before training; only frozen modalities are aligned")
    x = {name: inputs.tokens[name].pooled().float() for name in names}
    return Pairs.of(x, {name: inputs.present[name] for name in names})


def untrained(enhancement: Enhancement, dims: Mapping[str, int], seed: int) -> AlignmentNetwork:
    """The network, with weights drawn from the seed."""
    with seeded(seed):
        return enhancement.stage.network(dims)


def apply(enhancers: Mapping[str, Enhancer], inputs: Inputs, *, training: bool = False) -> Inputs:
    """The inputs with every enhanced modality replaced; anchors are as their encoders gave them.

    A joint one is left to its learning encoder; in ``training`` that gets the anchors beside it.
    """
    prepared = inputs
    for name, enhancer in enhancers.items():
        if enhancer.spec.joint is None:
            prepared = dataclasses.replace(prepared, tokens={**prepared.tokens, name: enhancer(inputs.tokens[name])})
        else:
            prepared = to_prepared(enhancer.spec, prepared, pairs_of(inputs, enhancer.spec.names) if training else None)
    return prepared


def without_dropped(
    enhancers: Mapping[str, Enhancer], features: Featurizer, inputs: Inputs
) -> tuple[Featurizer, Inputs]:
    """What is left for the classifier, and is asked for to predict."""
    gone = dropped([enhancer.spec for enhancer in enhancers.values()])
    if not gone:
        return features, inputs
    left = tuple(m for m in features.schema.modalities if m.name not in gone)
    fewer = copy.copy(features)
    fewer.schema = dataclasses.replace(features.schema, modalities=left)
    fewer.encoders = {n: e for n, e in features.encoders.items() if n not in gone}
    parts: Any = (inputs.tokens, inputs.prepared, inputs.present, inputs.columns)
    kept = Inputs(*({n: v for n, v in part.items() if n not in gone} for part in parts))
    return fewer, kept


def encoders(enhancers: Mapping[str, Enhancer]) -> dict[str, Encoder]:
    """The projectors that learn with the classifier, as encoders."""
    return {name: enhancer.encoder for name, enhancer in enhancers.items() if enhancer.encoder is not None}


def to_state(enhancers: Mapping[str, Enhancer]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON values and arrays to save."""
    words: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, result in enhancers.items():
        spec = result.spec
        own = {"options": spec.stage.options(), "keep": spec.keep, "joint": spec.joint, "drop": list(spec.drop)}
        words[name] = own | {"dims": result.network.dims, "record": dict(result.record)}
        arrays |= {f"align.{name}.{k}": v.numpy() for k, v in result.network.state_dict().items()}
    return words, arrays


def restore(words: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Enhancer]:
    """Rebuild what ``to_state`` saved."""
    result = {}
    for name, value in words.items():
        stage = config.build(HardestNegatives, value["options"], f"align.{name}")
        enhancement = Enhancement(name, stage, value["keep"], value.get("joint"), tuple(value.get("drop", ())))
        network = untrained(enhancement, value["dims"], 0)
        own = under(arrays, f"align.{name}.")
        network.load_state_dict({k: torch.from_numpy(v) for k, v in own.items()})
        result[name] = Enhancer(enhancement, network.eval(), value["record"])
    return result


@dataclasses.dataclass(frozen=True)
class Enhancement:
    """How one modality is pulled towards its anchors before the networks see it.

    Attributes:
        modality: that is pulled.
        stage: with its anchors.
        keep: its own features stay, beside the aligned ones.
        joint: weight of the contrastive loss where the projector learns with the classifier; None: before it, then frozen.
        drop: anchors that teach the projector and are then left out of the classifier.
    """

    modality: str
    stage: HardestNegatives
    keep: bool = False
    joint: Positive | None = None
    drop: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The modality and its anchors."""
        return (self.modality, *self.stage.anchors)


@dataclasses.dataclass(eq=False)
class JointEncoder(Encoder):
    """Pooled features of a frozen encoder, projected; every member of a model learns a projector of its own."""

    kinds = KINDS
    trainable = True

    spec: Enhancement
    statistics: FrozenNetwork

    def prepare(self, cells: object) -> dict[str, np.ndarray]:
        """Never asked: ``to_prepared`` gives what the module takes."""
        raise NotImplementedError("the features of a joint enhancement come from the frozen encoder")

    def module(self) -> nn.Module:
        """An untrained projector with the fixed statistics of the features."""
        network = self.spec.stage.network(self.statistics.dims)
        assert isinstance(network, FrozenNetwork)
        network.standard.load_state_dict(self.statistics.standard.state_dict())
        return JointProjector(self.spec, network)

    @property
    def dim(self) -> int:
        return self.statistics.out_dim + (self.statistics.dims[self.spec.modality] if self.spec.keep else 0)


class JointProjector(OwnLoss):
    """The projector; in training it leaves the contrastive loss of each batch in ``own_loss``.

    Formula: loss of the classifier + joint * loss of the contrast with the hardest negatives.
    Source: the losses of Wernlein et al., section 3.2; the paper trains them one after the other, the sum is ours.
    """

    def __init__(self, enhancement: Enhancement, network: FrozenNetwork) -> None:
        super().__init__()
        self.spec, self.network = enhancement, network

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """``x`` (B, D), and in training what ``to_prepared`` adds -> one token per row."""
        name, alone = self.spec.modality, {"x": batch["x"]}
        out = self.network(name, alone)
        self.own_loss = self._contrast(batch) if self.training and "cell.0" in batch else None
        return Tokens.of_vectors(torch.cat([self.network.inputs(name, alone), out], 1) if self.spec.keep else out)

    def _contrast(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        names, stage = self.spec.names, self.spec.stage
        pairs = Pairs(
            {n: {"x": batch["x" if place == 0 else f"x.{place}"]} for place, n in enumerate(names)},
            {n: batch[f"present.{place}"] for place, n in enumerate(names)},
            {n: batch[f"cell.{place}"] for place, n in enumerate(names)},
            batch["thing"],
        )
        spec, contrast = stage.pairs_of(names), stage.contrast()
        vectors = {side: embed(self.network, side, pairs) for side in sides_of(self.network, spec)}
        result = couples_of(self.network, contrast, spec, pairs, vectors, heat(self.network))
        terms = [term for couples, _ in result for term in contrast.blocks(couples, len(pairs))]
        return None if not terms or self.spec.joint is None else torch.stack(terms).sum() * self.spec.joint


def to_prepared(enhancement: Enhancement, inputs: Inputs, pairs: Pairs | None = None) -> Inputs:
    """The inputs with a modality's tokens moved to where learning encoders find them; ``pairs`` for training."""
    batch = {"x": inputs.tokens[enhancement.modality].pooled().float()}
    if pairs is not None:
        for place, name in enumerate(enhancement.names):
            batch |= {f"present.{place}": pairs.present[name], f"cell.{place}": pairs.cell[name]}
            batch |= {f"x.{place}": pairs.x[name]["x"]} if place else {}
        batch["thing"] = pairs.thing
    tokens = {name: result for name, result in inputs.tokens.items() if name != enhancement.modality}
    return dataclasses.replace(inputs, tokens=tokens, prepared={**inputs.prepared, enhancement.modality: batch})
