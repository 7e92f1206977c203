"""Any model of sentence-transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from plait.checks import Natural
from plait.encoders._cut import Cut
from plait.encoders._hub import HubEncoder, quiet, texts
from plait.encoders._hub_cut import TEXT, cut_network, given_words, layer_count
from plait.encoders._hub_files import WEIGHTS, Alternatives, has_safetensors
from plait.encoders._hub_sentence import (
    SentenceNetwork,
    as_arrays,
    check_modules,
    module_folder,
    told_width,
    transformer_within,
)
from plait.errors import need


@dataclass(eq=False)
class SentenceTransformerText(HubEncoder):
    """Any model of sentence-transformers, by hub name or folder, static embeddings included.

    Attributes:
        prompt: put before every cell, as some models ask for (``"query: "``).
        max_tokens: longer cells are cut; 0 leaves it to the model.

    Shape: text in, (n, 1, D) out; D is the model's.
    Source: Reimers and Gurevych 2019, Sentence-BERT, arXiv 1908.10084; the model's card.
    Use when: a sentence model suits your language or domain better than the default encoder.
    Not when: all that matters is one word or a number in the text.
    """

    kinds: ClassVar[tuple[str, ...]] = ("text", "code")
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
        """Refuse options of the wrong type; nothing is loaded yet."""
        super().__post_init__()
        self._loaded: Any = None
        self._loading = Lock()  # prepare runs beside module

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """The model's own tokens, padded to the longest of the batch."""
        words = [self.prompt + cell for cell in texts(cells)]
        model = self._model()
        tokenise = getattr(model, "preprocess", None) or model.tokenize  # renamed in 6.0
        return as_arrays(tokenise(words), len(words), self.max_tokens)

    def module(self) -> nn.Module:
        """The network; it is shared with ``prepare``, whose words it knows."""
        return SentenceNetwork(self._model())

    @property
    def tunable(self) -> int:  # type: ignore[override]  # of the model, not of the class
        """Layers that can be tuned: of models built as BERT is."""
        place = module_folder(self.folder(), self._modules()[0])
        if not (place / "config.json").is_file():
            return 0
        return layer_count(json.loads((place / "config.json").read_text(encoding="utf-8")), TEXT)

    def cut(self, layers: int) -> Cut:
        """The transformer's last layers and the modules after it are above."""
        self.check_cut(layers)
        return cut_network(lambda: SentenceNetwork(self._load()), transformer_within, layers, given_words)

    @property
    def dim(self) -> int:
        """Width of the model."""
        found = []
        for module in self._modules():
            path = module_folder(self.folder(), module) / "config.json"
            found.append((str(module.get("type")), json.loads(path.read_text("utf-8")) if path.is_file() else {}))
        told = told_width(found)
        if told is not None:
            return told
        model = self._model()
        return int((getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension)())

    def _modules(self) -> list[dict[str, Any]]:
        path = self.folder() / "modules.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        check_modules(found, self.model)
        return list(found)

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
