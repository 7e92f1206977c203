"""Any model of sentence-transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from plait.base.checks import Natural
from plait.base.encoder import Cut
from plait.base.errors import ConfigError, need
from plait.base.machine import autocast
from plait.data.media import Blob
from plait.data.media.images import image
from plait.data.media.sounds import audio
from plait.encoders.hub_cut import TEXT, cut_network, given_words, layer_count
from plait.encoders.hub_files import WEIGHTS, Alternatives, has_safetensors
from plait.encoders.hub_models import HubEncoder, HubNetwork, quiet
from plait.encoders.packages import filled
from plait.encoders.sound_frames import heard
from plait.encoders.syntax import cut


@dataclass(eq=False)
class SentenceTransformerText(HubEncoder):
    """Any model of sentence-transformers, by hub name or folder: of texts, static embeddings, pictures or sounds.

    Attributes:
        prompt: put before every text, as some models ask for (``"query: "``).
        max_tokens: longer cells are cut; 0 leaves it to the model.

    Shape: texts, pictures or sounds in, whichever the model takes, (n, 1, D) out; D is the model's.
    Source: Reimers and Gurevych 2019, Sentence-BERT, arXiv 1908.10084; the model's card.
    Use when: a sentence model suits your language or domain better than the default encoder.
    Not when: all that matters is one word or a number in the text.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text", "code", "image", "audio")
    arithmetic: ClassVar[int] = 2
    licence: ClassVar[str] = "Apache-2.0 (code); weights: as the model's card says, Apache-2.0 for the default"
    needs: ClassVar[Sequence[Alternatives]] = (
        ("modules.json",),
        (*WEIGHTS, "*/model.safetensors", "*/pytorch_model.bin"),
    )

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    prompt: str = ""
    max_tokens: Natural = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._loaded: Any = None
        self._loading = Lock()  # prepare runs beside module

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """The model's own tokens or pixels, padded to the longest of the batch."""
        model = self._model()
        if len(cells) and isinstance(cells[0], Blob | np.ndarray | tuple):
            given = self._media(model, cells)
        else:
            given = [self.prompt + cut(cell) for cell in cells]
        prepare = getattr(model, "preprocess", None) or model.tokenize  # renamed in 6.0
        return as_arrays(prepare(given), len(given), self.max_tokens)

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """Characters of texts, milliseconds of sounds, nothing of pictures."""
        if len(cells) and isinstance(cells[0], Blob | np.ndarray | tuple) and _kind(self._model()) == "audio":
            return heard(cells, _MAX_SECONDS, f"all that the encoder '{self.name()}' takes in")
        return super().lengths(cells)

    def _media(self, model: Any, cells: Sequence[Any]) -> list[Any]:
        """Pictures or sounds as the library takes them."""
        kind = _kind(model)
        if kind == "image":
            return [Image.fromarray(image(cell)) for cell in cells]
        if kind == "audio":
            rate = int(model[0].processor.feature_extractor.sampling_rate)
            return [{"array": audio(cell, rate, _MAX_SECONDS), "sampling_rate": rate} for cell in cells]
        raise ConfigError(
            f"encoder {self.name()}: '{self.model}' takes {kind}, no pictures or sounds; name another "
            "model, or install sentence-transformers 5.4 or newer"
        )

    def module(self) -> nn.Module:
        return HubNetwork(self._model(), _embedded)

    @property
    def tunable(self) -> int:  # type: ignore[override]  # of the model, not of the class
        """Layers that can be tuned: of models built as BERT is."""
        place = self.folder() / str(self._modules()[0].get("path", ""))
        if not (place / "config.json").is_file():
            return 0
        return layer_count(json.loads((place / "config.json").read_text(encoding="utf-8")), TEXT)

    def cut(self, layers: int) -> Cut:
        self.check_cut(layers)
        return cut_network(lambda: HubNetwork(self._load(), _embedded), transformer_within, layers, given_words)

    @property
    def dim(self) -> int:
        result = []
        for module in self._modules():
            path = self.folder() / str(module.get("path", "")) / "config.json"
            result.append((str(module.get("type")), json.loads(path.read_text("utf-8")) if path.is_file() else {}))
        value = told_width(result)
        if value is not None:
            return value
        model = self._model()
        return int((getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension)())

    def _modules(self) -> list[dict[str, object]]:
        path = self.folder() / "modules.json"
        result = json.loads(path.read_text(encoding="utf-8"))
        check_modules(result, self.model)
        return list(result)

    def _model(self) -> Any:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Any:
        self._modules()
        library, transformers = need("sentence_transformers", "hub"), need("transformers", "hub")
        rooted = (self.folder() / "config.json").is_file()
        options = {"use_safetensors": has_safetensors(self.folder())} if rooted else {}
        try:
            with quiet(transformers), torch.random.fork_rng(devices=[]):
                model = library.SentenceTransformer(
                    str(self.folder()),
                    device="cpu",
                    local_files_only=True,
                    trust_remote_code=False,
                    model_kwargs=options,
                )
                limit = model.max_seq_length or self.max_tokens
                if self.max_tokens and limit < math.inf:  # static embeddings have none: their arrays are cut instead
                    model.max_seq_length = min(self.max_tokens, limit)
        except Exception as error:
            raise self.refusal("loaded", error) from error
        return model.float().eval().requires_grad_(False)


#: What the library's arrays are called by what they hold, which it wants to be told.
_MODALITIES = {"pixel_values": "image", "input_features": "audio", "input_values": "audio"}
#: Only so much of the beginning of a sound is heard.
_MAX_SECONDS = 30.0
#: Where the classes of its own modules live; others would be code that the model's files choose.
_OWN = "sentence_transformers."
_POOLING_FLAGS = "pooling_mode_"


def _kind(model: Any) -> str:
    """The kind of media that a model takes, or else all that it takes."""
    known = set(getattr(model, "modalities", ("text",)))
    return next((kind for kind in ("image", "audio") if kind in known), ", ".join(sorted(known)))


def check_modules(modules: list[dict[str, Any]], model: str) -> None:
    """Refuse a model that asks for classes of somebody else."""
    foreign = [str(m.get("type")) for m in modules if not str(m.get("type")).startswith(_OWN)]
    if foreign:
        raise ConfigError(
            f"'{model}' needs code of its own ({', '.join(foreign)}), which plait never runs; name another model"
        )


def told_width(modules: list[tuple[str, dict[str, Any]]]) -> int | None:
    """Width by the settings of (type, settings) in order, or None where they do not tell it.

    Example:
        >>> told_width([("x.Pooling", {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True})])
        4
    """
    for kind, settings in reversed(modules):
        last = kind.rpartition(".")[2]
        if last in ("Normalize", "Dropout", "LayerNorm"):
            continue
        if last == "Dense":
            width = settings.get("out_features")
        elif last == "Pooling":
            width = settings.get("embedding_dimension", settings.get("word_embedding_dimension"))
            mode = settings.get("pooling_mode")
            flags = sum(1 for key, on in settings.items() if key.startswith(_POOLING_FLAGS) and on is True)
            modes = flags if mode is None else 1 if isinstance(mode, str) else len(mode)
            width = width * max(1, modes) if isinstance(width, int) else None
        else:
            width = None
        return width if isinstance(width, int) else None
    return None


def as_arrays(features: Mapping[str, object], rows: int, limit: int = 0) -> dict[str, np.ndarray]:
    """A tokenised batch as arrays (n, ...); bags of tokens laid end to end are padded, cut to ``limit`` and counted."""
    result = {key: value.numpy() for key, value in features.items() if isinstance(value, Tensor)}
    if "offsets" not in result:
        return {key: value for key, value in result.items() if value.ndim > 0 and len(value) == rows}
    ends = np.append(result["offsets"][1:], len(result["input_ids"]))
    bags = [result["input_ids"][a:b][: limit or None] for a, b in zip(result["offsets"], ends, strict=True)]
    ids, lengths = filled(bags, np.int64)
    return {"input_ids": ids, "bag_length": lengths.astype(np.int64)}


def as_features(batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """Back from ``as_arrays``."""
    if "bag_length" not in batch:
        kind = next((kind for key, kind in _MODALITIES.items() if key in batch), None)
        return {**batch, **({"modality": kind} if kind else {})}
    lengths = batch["bag_length"][:, 0]
    ids = batch["input_ids"]
    kept = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    return {"input_ids": ids[kept], "offsets": lengths.cumsum(0) - lengths}


def _embedded(network: Any, batch: Mapping[str, Tensor]) -> Tensor:
    with autocast(next(iter(batch.values())).device):
        return cast(Tensor, network(as_features(batch))["sentence_embedding"]).float()


def transformer_within(whole: nn.Module) -> nn.Module:
    """The model of transformers in one of sentence-transformers: in its first module, under the name of its version."""
    first: Any = whole.network[0]  # type: ignore[index]  # a sequence of modules
    result = getattr(first, "model", None) if isinstance(getattr(first, "model", None), nn.Module) else first.auto_model
    return cast(nn.Module, result)
