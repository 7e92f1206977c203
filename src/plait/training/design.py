"""Which networks are trained for a set of modalities, how wide, and for how long."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from plait.base import config, registry
from plait.base.branch import FittedBranch, NetworkBranch, resolve_all
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError
from plait.branches.branches import Branches, pairs_among, trained_weights
from plait.data.modality import Modality, Schema
from plait.networks.base import Network, depth_number
from plait.networks.conv_lstm import DEPTHS as CONV_LSTM_DEPTHS
from plait.networks.conv_lstm import ConvLSTM
from plait.networks.conv_lstm_layer import ConvLSTMOptions
from plait.networks.fusion import FusionNetwork
from plait.networks.late_pooling import LatePooling
from plait.networks.linear import LinearNetwork
from plait.training.settings import Training

NetworkSpec = str | Mapping[str, Any]


def parse(spec: NetworkSpec) -> tuple[type[Network], dict[str, Any]]:
    """The network's class and its options, from a name or ``{name: ..., option: ...}``.

    Raises:
        ConfigError: no such network; the message names the nearest one.

    Example:
        >>> parse({"name": "conv_lstm", "dense": 32})[1]
        {'dense': 32}
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
    if not isinstance(options.get("name"), str):
        raise ConfigError(f"network: expected a name, or a mapping with one, found {spec!r}")
    variant: type[Network] = registry.find("networks", options.pop("name"))
    if not issubclass(variant, ConvLSTM) and options:
        name = registry.name_of(variant)
        hint = f"its settings are the estimator's own (fusion, depth, layers, width, dropout), not {', '.join(options)}"
        raise ConfigError(f"network {name}: {hint}")
    if issubclass(variant, ConvLSTM):
        config.build(ConvLSTMOptions, options, "network conv_lstm")
    return variant, options


def check_depth(spec: NetworkSpec, depth: str | int, layers: int) -> None:
    """Refuse a depth that the network has not, before anything is encoded.

    Raises:
        ConfigError: no such network, or no such depth of it.
    """
    variant, _ = parse(spec)
    if issubclass(variant, ConvLSTM):
        depth_number(depth, layers, CONV_LSTM_DEPTHS, "network conv_lstm: ")


def schema_for(spec: NetworkSpec, schema: Schema, overrides: Mapping[str, Any] | None = None) -> Schema:
    """The schema with the encoders that the network wants where none is chosen, and as it wants them trained.

    A modality whose encoder is the user's choice is left as it is, except that raw cells are always fed as they are.
    """
    variant, _ = parse(spec)
    wanted: Mapping[str, str] = getattr(variant, "encoders", {})
    if not wanted:
        return schema
    return dataclasses.replace(schema, modalities=tuple(_fed(m, wanted, overrides or {}) for m in schema.modalities))


def _fed(modality: Modality, wanted: Mapping[str, str], overrides: Mapping[str, object]) -> Modality:
    chosen = overrides.get(modality.name, overrides.get(modality.kind, modality.encoder))
    if chosen is None and modality.kind in wanted:
        return dataclasses.replace(modality, encoder=wanted[modality.kind], train="scratch")
    given = chosen.name() if isinstance(chosen, Encoder) else chosen
    name = given.get("name") if isinstance(given, Mapping) else given
    if name in registry.names("encoders") and registry.find("encoders", str(name)).raw:
        return dataclasses.replace(modality, train="scratch")
    return modality


WIDTHS = (128, 96, 64, 48, 32, 24, 16)
#: Rows from which a table is large: two members, few epochs, little dropout.
LARGE = 8000
#: Designs whose numbers of weights differ by no more than this share are compared as equals.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Design:
    """What is trained.

    Attributes:
        branches: names, or ``{name: ..., option: ...}``.
        network: of the branches ``joint`` and ``own``: a name, or ``{name: ..., option: ...}``.
        fusion: an operator's name, or ``{name: ..., absence: ..., option: ...}``.
        width: None takes the widest of ``WIDTHS`` whose members together stay under ``max_weights``; ``match`` the one
            that comes nearest to ``max_weights``. Encoders that learn are not counted: they are the same in every design.
        pairs: what compares two modalities, and which.
    """

    fusion: str | Mapping[str, Any]
    depth: str | int
    layers: int
    width: int | str | None
    dropout: float
    branches: tuple[str | Mapping[str, Any], ...]
    max_weights: int
    members: int
    network: str | Mapping[str, Any] = "fusion"
    pairs: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        resolve_all(self.branches)
        if self.width not in (None, "match") and (not isinstance(self.width, int) or self.width < 1):
            raise ConfigError(f"width {self.width!r}: expected a number from 1, 'match' or nothing")


def sources_of(design: Design, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The modalities of each network's output."""
    return {n: sees for branch in _of(design, NetworkBranch) for n, sees in branch.sources(names).items()}


def _of(design: Design, kind: type[Any]) -> list[Any]:
    """New branches of a kind, for one member."""
    return [branch for branch in resolve_all(design.branches) if isinstance(branch, kind)]


def maker(
    design: Design, dims: Mapping[str, int], out_dim: int, learning: Mapping[str, Encoder]
) -> tuple[Design, Callable[[], Branches]]:
    """The design with its width settled, and what makes one untrained member of it."""
    pictures = {name: encoder.picture for name, encoder in learning.items() if encoder.picture is not None}

    def weights(width: int) -> int:
        with torch.device("meta"):  # counted, not filled
            return trained_weights(_build(design, width, dims, out_dim, pictures, {})) * design.members

    if isinstance(design.width, int):
        width = design.width
    elif design.width is None:
        width = next((w for w in WIDTHS if weights(w) <= design.max_weights), WIDTHS[-1])
    else:
        width = matched_width(weights, design.max_weights)
    return replace(design, width=width), lambda: _build(design, width, dims, out_dim, pictures, learning)


def matched_width(weights: Callable[[int], int], target: int) -> int:
    """The width at which ``weights`` comes nearest to ``target``.

    Raises:
        ConfigError: it stays more than 5 % away, so that comparing would not be fair.

    Example:
        >>> matched_width(lambda width: 10 * width + width**2, 1000)
        27
    """
    weights = cache(weights)
    if weights(1) == weights(2):
        raise ConfigError("width 'match': nothing that is trained has a width; add the branch 'joint'")
    low, high = 0, 1
    while weights(high) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if weights(middle) < target else (low, middle)
    best = min((w for w in (low, high) if w > 0), key=lambda w: abs(weights(w) - target))
    if abs(weights(best) - target) > TOLERANCE * target:
        raise ConfigError(
            f"width 'match': nearest to {target:,} weights comes width {best} with {weights(best):,}; "
            f"raise max_weights, or train fewer members or branches"
        )
    return best


def _build(
    design: Design,
    width: int,
    dims: Mapping[str, int],
    out_dim: int,
    pictures: Mapping[str, tuple[int, int]],
    learning: Mapping[str, Encoder],
) -> Branches:
    def network(over: Mapping[str, int]) -> nn.Module:
        return make_network(design, width, over, out_dim, pictures)

    names = [name for name in dims if name not in design.pairs]
    networks = {
        name: branch.build({m: dims[m] for m in (*sees, *pairs_among(sees, design.pairs))}, out_dim, network)
        for branch in _of(design, NetworkBranch)
        for name, sees in branch.sources(names).items()
    }
    modules = {name: encoder.module() for name, encoder in learning.items()}
    return Branches(networks, sources_of(design, names), modules, _of(design, FittedBranch), design.pairs)


def make_network(
    design: Design, width: int, dims: Mapping[str, int], out_dim: int, pictures: Mapping[str, tuple[int, int]]
) -> Network:
    """One untrained network over the modalities ``dims``, of which ``pictures`` have height and width.

    Raises:
        ConfigError: the network cannot take such modalities, has no such depth, or no such option.
    """
    variant, options = parse(design.network)
    single = len(dims) == 1
    blocks: dict[str, Any] = {"layers": design.layers, "width": width}
    if issubclass(variant, LinearNetwork):
        return LinearNetwork(dims, out_dim)
    if issubclass(variant, ConvLSTM):
        sizes = {name: size for name, size in pictures.items() if name in dims}
        return ConvLSTM(dims, out_dim, pictures=sizes, depth=design.depth, options=options, **blocks)
    blocks |= {"fusion": "concat" if single else design.fusion, "dropout": design.dropout}
    if issubclass(variant, LatePooling):
        return LatePooling(dims, out_dim, **blocks)
    if issubclass(variant, FusionNetwork):
        return FusionNetwork(dims, out_dim, depth="early" if single else design.depth, **blocks)
    raise ConfigError(
        f"network {design.network!r}: an estimator cannot build it; expected {', '.join(registry.names('networks'))}"
    )


def member_count(value: int | None, rows: int, learning: bool) -> int:
    """Members: five on small tables, two on large ones, one where encoders learn too."""
    if value is not None:
        if value < 1:
            raise ConfigError(f"members: {value}; at least one is needed")
        return value
    if learning:
        return 1
    return 5 if rows < 4000 else 3 if rows < LARGE else 2


def dropouts(rows: int, dropout: float | None, input_dropout: float | None) -> tuple[float, float]:
    """Dropout of blocks and of single features for so many rows, where they are not given.

    What keeps a small table from being learned by heart only slows a large one down: on the Hearthstone table 9 epochs
    with (0.2, 0.1) came where 15 with (0.3, 0.3) had come (validation rows, 3 seeds; ``docs/early_fusion.md``).
    """
    of_blocks, of_features = (0.2, 0.1) if rows >= LARGE else (0.3, 0.3)
    return of_blocks if dropout is None else dropout, of_features if input_dropout is None else input_dropout


def schedule(settings: Training, rows: int, epochs: int | None, batch_size: int | None) -> Training:
    """Epochs, batch size and learning rate (with the root of the batch size) for so many rows, where they are not given."""
    size = batch_size or next(
        (s for limit, s in ((500, 32), (1500, 64), (4000, 128), (8000, 256)) if rows < limit), 512
    )
    steps = max(1, rows // size)
    auto = 9 if rows >= LARGE else 20 if rows >= 4000 else max(30, min(150, 400 // steps))  # few rows, more passes
    rate = settings.learning_rate or 5e-3 * (size / 128) ** 0.5
    return replace(settings, epochs=epochs or auto, batch_size=size, learning_rate=rate)
