"""A small network for each modality."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from plait.base.branch import NetworkBranch


@dataclasses.dataclass(eq=False)
class Own(NetworkBranch):
    """A small network for each modality, which learns from the rows that have it.

    Formula: out_m = head_m(blocks_m(x_m)), one output per modality m, named ``own:m``.

    Shape: tokens (B, T, D_m); out (B, out_dim) each.

    Source: late fusion of experts; mixed by stacked generalisation (Wolpert 1992).

    Use when: modalities are often absent, or say much alone.

    Not when: there is one modality only; then ``joint`` is the same.

    Example:
        >>> Own().sources(["text", "image"])
        {'own:text': ('text',), 'own:image': ('image',)}
    """

    def sources(self, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """An output per modality; none where there is one only."""
        return {f"{self.name()}:{name}": (name,) for name in names} if len(names) > 1 else {}
