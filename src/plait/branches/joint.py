"""One network over all modalities."""

from __future__ import annotations

import dataclasses

from plait.base.branch import NetworkBranch


@dataclasses.dataclass(eq=False)
class Joint(NetworkBranch):
    """The network over all modalities: each on its own, joined by the fusion operator, then together.

    Formula: out = head(joint blocks(fusion(own blocks(x_m) for every present m))).

    Shape: tokens (B, T, D_m) each; out (B, out_dim).

    Source: Wernlein et al., Early Fusion with Contrastive Learning, section 3.1.

    Use when: modalities say together what none says alone.

    Not when: a few hundred rows of plain columns carry the answer.

    Example:
        >>> Joint().sources(["text", "image"])
        {'joint': ('text', 'image')}
    """
