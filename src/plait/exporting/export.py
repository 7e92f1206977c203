"""``export``: the folder with the ONNX file of a model, and what one must know to use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from plait.base.errors import ConfigError, need
from plait.base.folders import check_folder, whole_folder
from plait.base.version import __version__
from plait.data.labels import to_plain
from plait.exporting.encoders import write_encoders
from plait.exporting.graph import Fitted, ModelGraph, classes_of, output_names
from plait.exporting.inputs import tensors
from plait.exporting.onnx_file import OPSETS, TOLERANCE, check_graph, put_metadata, write_graph

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
    classes = to_plain(classes_of(graph.task))
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
        outputs = [{"name": "value", "dtype": "float32", "shape": ["rows"], "what": "in the target's own unit"}]
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
