"""The folder with the ONNX files of a model and its frozen encoders, and what one must know to use them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base import __version__
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, need
from plait.base.folders import check_folder, whole_folder
from plait.data.labels import to_plain
from plait.data.modality import Schema
from plait.encoders import minilm_network
from plait.encoders.efficientnet_lite0 import SIDE, EfficientNet, EfficientNetLite0, lite0
from plait.encoders.minilm import MiniLM
from plait.exporting.graph import Fitted, ModelGraph, output_names
from plait.exporting.onnx_file import OPSETS, TOLERANCE, check_graph, put_metadata, tensors, write_graph

#: Rows that each graph is checked with.
_ROWS = 2


def write_encoders(schema: Schema, encoders: Mapping[str, Encoder], folder: Path, opset: int) -> dict[str, Any]:
    """Write the encoders of a model that can be exported into a folder; of every modality what to do with its cells."""
    result: dict[str, Any] = {}
    for modality in schema.modalities:
        encoder = encoders[modality.name]
        if modality.learns or modality.kind == "tabular":
            continue
        if modality.train == "frozen" and isinstance(encoder, MiniLM):
            result[modality.name] = _minilm(encoder, folder, opset)
        elif modality.train == "frozen" and isinstance(encoder, EfficientNet):
            result[modality.name] = _efficientnet(folder, opset)
        else:
            said = f"'{encoder.name()}' ({modality.train}) is not exported: encode the cells with plait"
            result[modality.name] = {"encoder": encoder.name(), "file": None, "how": said}
    return result


def _minilm(encoder: MiniLM, folder: Path, opset: int) -> dict[str, object]:
    name = f"{encoder.name()}.onnx"
    examples = [_texts(7), _texts(11)]
    axes = {"ids": {0: "rows", 1: "tokens"}, "mask": {0: "rows", 1: "tokens"}, "vectors": {0: "rows"}}
    network = _PaddedMiniLM(encoder)
    write_graph(folder / name, network, examples[0], ["vectors"], axes, opset)
    check_graph(folder / name, network, examples)
    shutil.copyfile(encoder.tokenizer_file(), folder / "tokenizer.json")
    return {
        "encoder": encoder.name(),
        "file": name,
        "inputs": [
            {"name": "ids", "dtype": "int64", "shape": ["rows", "tokens"], "what": "token ids, filled up with 0"},
            {"name": "mask", "dtype": "bool", "shape": ["rows", "tokens"], "what": "True where there is a token"},
        ],
        "output": "vectors (rows, 384), each of length one: one token of the model's input",
        "tokenizer": "tokenizer.json",
        "how": f"WordPiece of tokenizer.json (package tokenizers: Tokenizer.from_file), cut to {encoder.max_tokens} tokens with "
        "[CLS] and [SEP]; the columns of a modality are joined by line breaks",
    }


def _texts(tokens: int) -> dict[str, Tensor]:
    """Random tokens, a row of all and one of about half of them."""
    generator = torch.Generator().manual_seed(tokens)
    ids = torch.randint(1000, 2000, (_ROWS, tokens), generator=generator)
    return {"ids": ids, "mask": torch.arange(tokens) < torch.tensor([[tokens], [tokens // 2 + 1]])}


class _PaddedMiniLM(nn.Module):
    """The same network over texts filled up to one length."""

    def __init__(self, encoder: MiniLM) -> None:
        super().__init__()
        self.network = encoder.network(fast=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        network = self.network
        x = network.norm(network.words(ids) + network.positions.weight[: ids.shape[1]])
        seen = mask[:, None, None, :]
        for layer in network.layers:
            x = layer(x, lambda qkv: _attended(qkv, seen))
        weight = mask[:, :, None].float()
        return functional.normalize((x * weight).sum(1) / weight.sum(1).clamp_min(1.0), dim=1)


def _attended(qkv: Tensor, mask: Tensor) -> Tensor:
    """``minilm_network``'s attention in operators of the opset: (B, T, 3 D) -> (B, T, D)."""
    heads, width = minilm_network.HEADS, minilm_network.WIDTH
    rows, tokens, _ = qkv.shape
    q, k, v = (part.reshape(rows, tokens, heads, width // heads).transpose(1, 2) for part in qkv.chunk(3, 2))
    scores = (q @ k.transpose(2, 3)) / (width // heads) ** 0.5
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    attended: Tensor = (weights @ v).transpose(1, 2).flatten(2)
    return attended


def _efficientnet(folder: Path, opset: int) -> dict[str, object]:
    name = "efficientnet_lite0.onnx"
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 255, (_ROWS, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    axes = {"pixels": {0: "rows"}, "vectors": {0: "rows"}}
    network = _Pictures(lite0(fast=False))
    write_graph(folder / name, network, {"pixels": pixels}, ["vectors"], axes, opset)
    check_graph(folder / name, network, [{"pixels": pixels[1:].flip(1)}])
    return {
        "encoder": "efficientnet_lite0",
        "file": name,
        "inputs": [{"name": "pixels", "dtype": "uint8", "shape": ["rows", SIDE, SIDE, 3], "what": "RGB"}],
        "output": "vectors (rows, 1280): one token of the model's input",
        "how": f"decode (EXIF's orientation applied, transparency on white), turn to RGB, resize the whole picture to {SIDE} x "
        f"{SIDE} whatever its shape",
    }


class _Pictures(nn.Module):
    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        vectors: Tensor = self.network.through(pixels).mean((2, 3))
        return vectors


MODEL, INPUTS = "model.onnx", "inputs.json"
#: Rows of the example that is traced, and of those that the file is checked with.
_TRACED, _CHECKED = 6, (1, 9)


def export(fitted: Fitted, folder: str | Path, *, onnx: bool = True, encoders: bool = False, opset: int = 17) -> Path:
    """Write a fitted model to a folder: ``model.onnx``, ``inputs.json``, and with ``encoders`` a file for each that can be.

    The folder is there whole, its numbers checked against the model's, or not at all.

    Raises:
        ConfigError: no such opset, or something in the model cannot be exported; the message names it.
        MissingDependencyError: the extra ``onnx`` is not installed.
    """
    if not onnx:
        raise ConfigError("export: ONNX is the only format there is; leave --no-onnx out")
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ConfigError(f"export: opset {opset}; expected {OPSETS[0]} to {OPSETS[1]}")
    need("onnx", "onnx")
    need("onnxruntime", "onnx")
    graph = ModelGraph(fitted)
    check_folder(folder, "ONNX")
    with whole_folder(folder, "ONNX") as place:
        write_graph(
            place / MODEL, graph, tensors(_example(graph, _TRACED)), output_names(graph.task), _axes(graph), opset
        )
        checks = [tensors(_example(graph, rows, seed=rows)) for rows in _CHECKED]
        worst = check_graph(place / MODEL, graph, checks)
        facts = described(graph, opset)
        facts["checked"] = {"rows": sum(_CHECKED), "largest_difference": worst, "tolerance": TOLERANCE}
        if encoders:
            facts["encoders"] = write_encoders(fitted.schema, fitted.features.encoders, place, opset)
        put_metadata(place / MODEL, facts)
        (place / INPUTS).write_text(
            json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8", errors="backslashreplace"
        )
    return Path(folder)


def described(graph: ModelGraph, opset: int) -> dict[str, Any]:
    """What stands in the file and beside it: inputs, outputs, classes."""
    classes = to_plain(getattr(graph.task, "classes", ()))
    probabilities = {"name": "probabilities", "dtype": "float32", "shape": ["rows", len(classes)]}
    several = graph.task.name == "multilabel"
    outputs: list[dict[str, Any]] = [
        {**probabilities, "what": "in the order of classes" + (", each by itself" if several else "")},
        {
            "name": "answer",
            "dtype": "int64",
            "shape": ["rows", len(classes)] if several else ["rows"],
            "what": "1 for each class that is answered" if several else "the place of the answer among the classes",
        },
    ]
    if not classes:
        outputs = [{"name": "value", "dtype": "float64", "shape": ["rows"], "what": "in the target's own unit"}]
    return {
        "plait": __version__,
        "opset": opset,
        "task": graph.task.name,
        "target": graph.fitted.schema.target,
        "inputs": [spec.to_dict() for spec in graph.specs],
        "outputs": outputs,
        "classes": classes,
        "modalities": [
            {
                "name": m.name,
                "kind": m.kind,
                "columns": list(m.columns),
                "inputs": [s.name for s in graph.own_specs[m.name]],
            }
            for m in graph.fitted.schema.modalities
        ],
        "differs": "a category that was never seen is -1: plait would still read the letters of its name, the file does not",
    }


def _example(graph: ModelGraph, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs: the first row has everything, the last nothing, each modality is absent somewhere."""
    generator = np.random.default_rng(seed)
    result = {spec.name: spec.example(rows, 2, generator) for spec in graph.specs}
    if rows < 3:
        return result
    for place, name in enumerate(graph.fitted.names):
        for spec in graph.own_specs[name]:
            if spec.dtype == "bool":
                result[spec.name][0] = True
                result[spec.name][[-1, 1 + place % (rows - 2)]] = False
    return result


def _axes(graph: ModelGraph) -> dict[str, dict[int, str]]:
    """The axes whose length may differ."""
    result = {
        spec.name: {place: size for place, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in graph.specs
    }
    return result | {name: {0: "rows"} for name in output_names(graph.task)}
