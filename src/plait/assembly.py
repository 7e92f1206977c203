"""Which networks are trained for a set of modalities, how wide, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from plait.encoders._base import Encoder
from plait.errors import ConfigError, nearest
from plait.networks.fusion import FusionNetwork
from plait.networks.linear import LinearNetwork
from plait.train import Branches, Training, trained_weights

BRANCHES = ("joint", "linear", "own")
WIDTHS = (128, 96, 64, 48, 32, 24, 16)


@dataclass(frozen=True)
class Design:
    """What is trained.

    Attributes:
        branches: any of ``joint`` (the fusion network over all modalities), ``linear`` (one linear map over all) and
            ``own`` (a small network for each modality).
        width: None takes the widest of ``WIDTHS`` whose members together stay under ``max_weights``.
    """

    fusion: str
    depth: str | int
    layers: int
    width: int | None
    dropout: float
    input_dropout: float
    branches: tuple[str, ...]
    max_weights: int
    members: int

    def __post_init__(self) -> None:
        """Refuse branches that there are not."""
        for name in self.branches:
            if name not in BRANCHES:
                raise ConfigError(f"unknown branch '{name}': {nearest(name, BRANCHES)}")
        if "joint" not in self.branches and "linear" not in self.branches:
            raise ConfigError("branches: one of 'joint' and 'linear' is needed")


def sources_of(design: Design, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Each branch's modalities; an own branch is called by its modality."""
    everything = tuple(names)
    found: dict[str, tuple[str, ...]] = {n: everything for n in ("joint", "linear") if n in design.branches}
    if "own" in design.branches and len(names) > 1:
        found |= {f"own:{name}": (name,) for name in names}
    return found


def maker(
    design: Design, dims: Mapping[str, int], out_dim: int, learning: Mapping[str, Encoder]
) -> tuple[Design, Callable[[], Branches]]:
    """The design with its width settled, and what makes one untrained member of it."""
    sources = sources_of(design, list(dims))
    widths = WIDTHS if design.width is None else (design.width,)
    for width in widths:
        settled = replace(design, width=width)
        if trained_weights(_build(settled, sources, dims, out_dim, {})) * design.members <= design.max_weights:
            break
    return settled, lambda: _build(settled, sources, dims, out_dim, learning)


def _build(
    design: Design,
    sources: Mapping[str, tuple[str, ...]],
    dims: Mapping[str, int],
    out_dim: int,
    learning: Mapping[str, Encoder],
) -> Branches:
    networks: dict[str, nn.Module] = {}
    for name, needs in sources.items():
        part = {m: dims[m] for m in needs}
        if name == "linear":
            networks[name] = LinearNetwork(part, out_dim, input_dropout=design.input_dropout)
        else:
            single = len(part) == 1
            networks[name] = FusionNetwork(
                part,
                out_dim,
                fusion="concat" if single else design.fusion,
                depth="early" if single else design.depth,
                layers=design.layers,
                width=design.width or WIDTHS[0],
                dropout=design.dropout,
                input_dropout=design.input_dropout,
            )
    return Branches(networks, sources, {name: encoder.module() for name, encoder in learning.items()})


def member_count(told: int | None, rows: int, learning: bool) -> int:
    """Members: five on small tables, two on large ones, one where encoders learn too."""
    if told is not None:
        if told < 1:
            raise ConfigError(f"members: {told}; at least one is needed")
        return told
    if learning:
        return 1
    return 5 if rows < 4000 else 3 if rows < 8000 else 2


def schedule(settings: Training, rows: int, epochs: int | None, batch_size: int | None) -> Training:
    """Epochs, batch size and learning rate (with the root of the batch size) for so many rows, where they are not given."""
    size = batch_size or next(
        (s for limit, s in ((500, 32), (1500, 64), (4000, 128), (8000, 256)) if rows < limit), 512
    )
    steps = max(1, rows // size)
    auto = 15 if rows >= 8000 else 20 if rows >= 4000 else max(30, min(150, 400 // steps))  # few rows, more passes
    rate = settings.learning_rate or 5e-3 * (size / 128) ** 0.5
    return replace(settings, epochs=epochs or auto, batch_size=size, learning_rate=rate)
