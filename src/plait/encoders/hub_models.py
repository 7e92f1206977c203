"""What all encoders with weights from a hub share: pinned, found in the cache first, loaded without foreign code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, need, reason, warn
from plait.base.machine import seeded
from plait.base.tokens import Tokens, of_one_length
from plait.encoders.hub_files import COMMIT, WEIGHTS, Alternatives, folder_digest, has_safetensors, locate

#: Commits of the models that are named as defaults. No hub can be reached from where this was written: each hash was
#: found in several public repositories that pin the same model to it, none was checked against the hub itself.
PINNED = {
    "openai/clip-vit-base-patch32": "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
    "microsoft/codebert-base": "3b0952feddeffad0063f274080e3c23d75e7eb39",
    "facebook/wav2vec2-base": "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
    "sentence-transformers/all-MiniLM-L6-v2": "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    "FacebookAI/roberta-base": "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
    "facebook/dinov2-small": "ed25f3a31f01632728cabb09d1542f84ab7b0056",
    "google/vit-base-patch16-224-in21k": "b4569560a39a0f1af58e3ddaf17facf20ab919b0",
    "timm/mobilenetv3_small_100.lamb_in1k": "1824797e7887cbec1990e4adbd6675960a36c589",
}


@dataclass(eq=False)
class HubEncoder(Encoder):
    """Base of the encoders whose weights come by name from a hub, or from a folder in the hub's format.

    Attributes:
        model: a name on the hub (``owner/name``), or a local folder.
        revision: commit, tag or branch. None: the commit plait knows for its own defaults, else the one in the cache,
            else the newest; the commit that was found is kept with the model that is fitted on it.
    """

    extra: ClassVar[str | None] = "hub"
    batch_size: ClassVar[int] = 32
    batch_length: ClassVar[int | None] = 10_000
    #: Files that the model must have, beside ``config.json``.
    needs: ClassVar[Sequence[Alternatives]] = (("config.json",), WEIGHTS)

    model: str = ""
    revision: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model.strip():
            raise ConfigError(f"encoder {self.name()}: model must be a hub name or a folder, found {self.model!r}")
        self._commit = self.revision or PINNED.get(self.repository())
        self._folder: Path | None = None

    def repository(self) -> str:
        """The model's full name on the hub, or its folder."""
        return self.model

    def folder(self) -> Path:
        """The model's folder, fetched if need be."""
        if self._folder is None:
            self._folder = locate(self.repository(), self._commit, self.needs, download=self.may_fetch)
        return self._folder

    def weights_id(self) -> str:
        if Path(self.model).expanduser().is_dir():
            return f"content {folder_digest(self.folder())}"
        if self._commit and COMMIT.fullmatch(self._commit):  # known without looking: a warm store needs no weights
            return self._commit
        return self.folder().name  # a snapshot in the hub's cache is called by its commit

    def state(self) -> dict[str, Any]:
        known = self.weights_id()
        resolved = known.startswith("content ") or known in (self.revision, PINNED.get(self.repository()))
        return {} if resolved else {"commit": known}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if "commit" in state:
            self._commit, self._folder = str(state["commit"]), None

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """Characters of each cell of text; nothing for other kinds."""
        return np.array([len(cell) if isinstance(cell, str) else 0 for cell in cells], dtype=np.int64)

    def settings(self, file: str = "config.json") -> dict[str, Any]:
        """A JSON file of the model."""
        path = self.folder() / file
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read as JSON ({reason(error)}); fetch the model again") from error
        if not isinstance(result, dict):
            raise ConfigError(f"{path}: expected a mapping, found {type(result).__name__}")
        return result

    def width(self, part: str, key: str = "") -> int:
        """Width of the features, as the settings say it (under ``key``), or else transformers, whose import takes seconds."""
        given = self.settings()
        own = given.get(key) if key else None if f"{part}_config" in given else given.get("hidden_size")
        return own if isinstance(own, int) else width_of(self.config(), part)

    def config(self) -> Any:
        """The transformers configuration, defaults filled in."""
        return self.load("AutoConfig")

    def load(self, kind: str, **options: Any) -> Any:
        """``transformers.<kind>.from_pretrained`` of the model's folder: no network, no foreign code."""
        folder, transformers = self.folder(), need("transformers", "hub")
        options |= {"local_files_only": True, "trust_remote_code": False}
        try:
            with quiet(transformers):
                return getattr(transformers, kind).from_pretrained(str(folder), **options)
        except Exception as error:
            raise self.refusal(f"loaded as {kind}", error) from error

    def check_cut(self, layers: int) -> None:
        """Refuse more layers than can be tuned, and models that cannot be cut."""
        if 0 < layers <= self.tunable:
            return
        kind = self.settings().get("model_type") if (self.folder() / "config.json").is_file() else None
        has = f"it has {self.tunable}" if self.tunable else f"a model of type '{kind}' cannot be taken apart"
        raise ConfigError(
            f"encoder {self.name()}: {layers} layers of '{self.model}' cannot be tuned: {has}; "
            f"{'set tune.layers' if self.tunable else 'set train: frozen, or name another model'}"
        )

    def refusal(self, what: str, error: Exception) -> ConfigError:
        """The one line for whatever a library raised."""
        said = f"{type(error).__name__}: {reason(error)}"
        return ConfigError(f"encoder {self.name()}: '{self.model}' cannot be {what} ({said}); name another model")

    def network(self, kind: str, **options: Any) -> nn.Module:
        """A transformers model with its weights, in float32, frozen. Torch's random generator is left as it was."""
        options |= {"use_safetensors": has_safetensors(self.folder()), "weights_only": True}
        with seeded(0):  # weights that the file lacks are at least the same every time
            result, report = self.load(kind, output_loading_info=True, **options)
        self._check_complete(result, [name for name in report["missing_keys"] if not unused(name)])
        network: nn.Module = result.float().eval().requires_grad_(False)
        return network

    def _check_complete(self, network: nn.Module, lacking: Sequence[str]) -> None:
        """Refuse weights of something else; warn of a few that are missing."""
        count = sum(1 for _ in network.parameters())
        message = f"lacks {len(lacking)} of the {count} weights of a {type(network).__name__}"
        if 2 * len(lacking) > count:
            raise ConfigError(f"encoder {self.name()}: '{self.model}' {message}; name another model or encoder")
        if lacking:
            warn(
                f"encoder {self.name()}: '{self.model}' {message} ({min(lacking)}, ...), which stay random; "
                "it may not be the model you mean"
            )


def unused(weight: str) -> bool:
    """Weights that our features never pass through: heads, and the mask of pretraining."""
    return any(part in weight for part in ("pooler.", "masked_spec_embed", "mask_token", "position_ids"))


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers from printing bars and reports; what matters is raised or warned of by us."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def width_of(config: object, part: str | None = None) -> int:
    """Width of a model's features: of the space that several kinds are projected into, else of its last layer."""
    inner = getattr(config, f"{part}_config", None) if part else None
    names = ("hidden_size", "d_model", "dim", "n_embd", "embed_dim")
    sources = [(config, ("projection_dim",)), (inner, ("projection_size", *names))] if inner is not None else []
    for source, keys in [*sources, (config, names)]:
        for key in keys:
            width = getattr(source, key, None)
            if isinstance(width, int) and width > 0:
                return width
    sizes = getattr(config, "hidden_sizes", None)
    if sizes:
        return int(sizes[-1])
    raise ConfigError(f"the width of a {type(config).__name__} is not known; name another model")


class HubNetwork(nn.Module):
    """A network of another library as one of ours: one vector a cell.

    ``compute``: the network and a prepared batch, rows of one length at a time -> (n, D).
    """

    def __init__(self, network: nn.Module, compute: Callable[[Any, Mapping[str, Tensor]], Tensor]) -> None:
        super().__init__()
        self.network, self.compute = network, compute

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(by_length(batch, partial(self.compute, self.network)))


def by_length(batch: Mapping[str, Tensor], compute: Callable[[Mapping[str, Tensor]], Tensor]) -> Tensor:
    """What ``compute`` makes of a batch (B, ...), rows of one length at a time and without padding: (B, D).

    Padding would change a row's numbers with the company that it is in.

    Shape: arrays (B, L, ...) beside an ``attention_mask`` (B, L); without one the batch is computed whole.
    """
    if "attention_mask" not in batch or not len(batch["attention_mask"]):
        return compute(batch)
    mask = batch["attention_mask"].bool()
    groups = of_one_length(mask)
    parts = [
        compute({k: v[rows][:, there] if v.shape[:2] == mask.shape else v[rows] for k, v in batch.items()})
        for rows, there in groups
    ]
    return torch.cat(parts)[torch.cat([rows for rows, _ in groups]).argsort()]
