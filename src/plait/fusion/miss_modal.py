"""MissModal: answers of incomplete rows pulled to those of the same rows when complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.checks import NonNegative, Width, Within
from plait.base.fusion import Fusion
from plait.base.inputs import subsets_of
from plait.base.tokens import Tokens


class MissModal(Fusion):
    """Maps of each modality side by side, with losses that make every subset of the modalities say what all of them say.

    While training it asks for a loss of its own: within a batch, what a row gives with some modalities is to be nearest to
    what the same row gives with all (geometric contrast) and near to it (distribution distance). At prediction it is a plain map.

    Formula: f(S) = tanh(W [A_1 x_1 ; ... ; A_M x_M]), A_m x_m = 0 for m not in S; own loss = sum over S of
    contrast CE(cos(f(S), f(all)) / temperature) + distance ||f(S) - f(all)||^2.
    Shape: tokens (B, T, D_m) each; out (B, units).
    Source: Lin and Hu 2023, MissModal: Increasing Robustness to Missing Modality in Multimodal Sentiment Analysis, TACL 11,
    sections 3.3 and 3.4; their third loss is that of the task, which is left to the network (with ``modality_dropout``).
    Use when: everything is there in training and single modalities may be absent at prediction.
    Not when: modalities are often absent in training too: few rows can then be compared.

    Example:
        >>> fusion = MissModal({"a": 3, "b": 5}, units=4)
        >>> tokens = {n: Tokens.of_vectors(torch.rand(6, d)) for n, d in (("a", 3), ("b", 5))}
        >>> fusion(tokens).shape, bool(fusion.own_loss > 0)
        (torch.Size([6, 4]), True)
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        units: Width = 128,
        contrast: NonNegative = 0.1,
        distance: NonNegative = 0.1,
        temperature: Annotated[float, Within(0, 100, above=True)] = 0.1,
        level: str | None = None,
    ) -> None:
        """Build for modalities of these widths; ``contrast`` and ``distance`` weigh the own loss."""
        super().__init__(dims, level=level)
        self.units, self.temperature, self.weights = units, temperature, (contrast, distance)
        self.maps = nn.ModuleDict({name: nn.Linear(dim, units) for name, dim in self.dims.items()})
        self.join = nn.Linear(units * len(self.names), units)

    @property
    def out_dim(self) -> int:
        return self.units

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        present = torch.stack([tokens[name].present for name in self.names], 1)  # (B, M)
        x = torch.stack([self.maps[name](tokens[name].pooled()) for name in self.names], 1)  # (B, M, units)
        out = self._joined(x, present)
        self.own_loss = self._own_loss(x, out, present)
        return out

    def _joined(self, x: Tensor, present: Tensor) -> Tensor:
        result: Tensor = self.join(x.masked_fill(~present[:, :, None], 0.0).flatten(1)).tanh()
        return result

    def _own_loss(self, x: Tensor, out: Tensor, present: Tensor) -> Tensor:
        """Every proper subset of the modalities against all of them, on rows that have them all."""
        contrast, distance = self.weights
        rows, total = present.all(1), x.new_zeros(())
        if int(rows.sum()) < 2 or len(self.names) < 2:
            return total
        whole = out[rows].detach()  # the complete rows teach, and are not pulled
        places = torch.arange(len(whole), device=whole.device)
        for kept in subsets_of(self.names, range(1, len(self.names))):
            shown = present.new_tensor([name in kept for name in self.names]).expand(len(whole), -1)
            part = self._joined(x[rows], shown)
            near = functional.normalize(part, dim=1) @ functional.normalize(whole, dim=1).t() / self.temperature
            total = (
                total + contrast * functional.cross_entropy(near, places) + distance * functional.mse_loss(part, whole)
            )
        return total
