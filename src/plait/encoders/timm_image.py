"""Any image model of timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from plait.base.errors import MissingDependencyError, need
from plait.base.machine import autocast
from plait.encoders.hub_files import Alternatives
from plait.encoders.hub_models import HubEncoder, HubNetwork
from plait.encoders.pixel_arrays import Pixels

_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
_WEIGHTS = "model.safetensors"


@dataclass(eq=False)
class TimmImage(HubEncoder):
    """Any image model of timm, by the hub name of its weights (``timm/resnet18.a1_in1k``) or folder, without its head.

    timm is not part of the extra ``hub``: installing it replaces torch unless torch's version is named beside it.
    Preparing follows the weights' own settings: size, crop, filter, mean and deviation.

    Shape: images in, (n, 1, D) out; D is the model's ``num_features``.
    Source: Wightman 2019, PyTorch Image Models, github.com/huggingface/pytorch-image-models; the model's card.
    Use when: a particular convolutional network or vision transformer is wanted.
    Not when: timm is not installed: ``transformers_image`` needs less.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image",)
    licence: ClassVar[str] = "Apache-2.0 (code); weights: as the model's card says, Apache-2.0 for the default"
    needs: ClassVar[Sequence[Alternatives]] = (("config.json",), (_WEIGHTS,))

    model: str = "timm/mobilenetv3_small_100.lamb_in1k"

    def repository(self) -> str:
        """A name without owner is timm's."""
        return self.model if "/" in self.model or Path(self.model).is_dir() else f"timm/{self.model}"

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``pixels`` uint8 (n, H, W, 3)."""
        _timm()  # before anything is fetched
        return {"pixels": self._steps.batch(cells)}

    def module(self) -> nn.Module:
        timm, value = _timm(), self.settings()
        weights = load_file(self.folder() / _WEIGHTS)
        heads = _pretrained(value).get("classifier") or ()
        heads = (heads,) if isinstance(heads, str) else tuple(heads)
        kept = {key: w for key, w in weights.items() if not key.startswith(tuple(f"{head}." for head in heads))}
        try:
            with torch.random.fork_rng(devices=[]):
                options = value.get("model_args") or {}
                network = timm.create_model(value["architecture"], pretrained=False, num_classes=0, **options)
            network.load_state_dict(kept)
        except Exception as error:
            raise self.refusal("loaded", error) from error
        return HubNetwork(
            network.float().eval().requires_grad_(False), partial(_pooled, normalised=self._steps.normalised)
        )

    @property
    def dim(self) -> int:
        return int(self.settings()["num_features"])

    @cached_property
    def _steps(self) -> Pixels:
        return _pixels(_pretrained(self.settings()))


def _pooled(network: Any, batch: Mapping[str, Tensor], normalised: Callable[[Tensor], Tensor]) -> Tensor:
    x = normalised(batch["pixels"])  # (B, 3, H, W)
    with autocast(x.device):
        return cast(Tensor, network(x)).float()


def _pretrained(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {**spec, **(spec.get("pretrained_cfg") or {})}


def _pixels(spec: Mapping[str, Any]) -> Pixels:
    """Steps by timm's settings of the weights: the shorter side to size / crop_pct, the middle cut out."""
    _, height, width = spec.get("input_size") or (3, 224, 224)
    squash = spec.get("crop_mode") == "squash" or height != width
    return Pixels(
        height,
        width,
        None if squash else int(height / (spec.get("crop_pct") or 0.875)),
        _FILTERS.get(str(spec.get("interpolation")), _FILTERS["bicubic"]),
        tuple(spec.get("mean") or (0.485, 0.456, 0.406)),
        tuple(spec.get("std") or (0.229, 0.224, 0.225)),
    )


def _timm() -> Any:
    try:
        return need("timm", "hub")
    except MissingDependencyError as error:
        version = torch.__version__.partition("+")[0]
        raise MissingDependencyError(
            "the package 'timm' is needed and could not be imported; the extra 'hub' leaves it out because it may "
            f'replace torch; run: pip install timm "torch=={version}"'
        ) from error
