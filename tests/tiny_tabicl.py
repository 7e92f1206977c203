"""Checkpoints of TabICL as the hub has them, of a network of a few thousand random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

TINY: dict[str, Any] = {
    "embed_dim": 8,
    "col_num_blocks": 1,
    "col_nhead": 2,
    "col_num_inds": 4,
    "row_num_blocks": 1,
    "row_nhead": 2,
    "row_num_cls": 2,
    "icl_num_blocks": 1,
    "icl_nhead": 2,
}


def write(folder: Path) -> Path:
    """One for classes and one for numbers."""
    from tabicl._model.tabicl import TabICL  # there is no public name for the network

    for kind, config in (("classifier", {"max_classes": 4}), ("regressor", {"max_classes": 0, "num_quantiles": 9})):
        torch.manual_seed(0)
        network = TabICL(**TINY, **config)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.2 * torch.randn_like(p))  # some layers start at zero: nothing would be said
        held = {"config": {**TINY, **config}, "state_dict": network.state_dict()}
        torch.save(held, folder / f"tabicl-{kind}-v2-20260212.ckpt")
    return folder
