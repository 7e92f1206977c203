"""Writes an ONNX file and holds it against the module that it was made of, before anybody sees it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.errors import ConfigError, ModelError, need

#: By how much the file's numbers may differ from the module's, relative to the larger of 1 and the number.
TOLERANCE = 1e-5
#: The oldest and the newest set of operators that files are written in.
OPSETS = (17, 20)


def write_graph(
    path: Path,
    module: nn.Module,
    example: Mapping[str, Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    opset: int,
) -> None:
    """Write a module as an ONNX file.

    Args:
        path: of the file.
        module: takes the tensors of ``example`` in their order.
        example: input -> values; rows of all kinds must be among them.
        outputs: their names.
        axes: input or output -> axis -> name of a length that may differ from call to call.
        opset: of the standard's operators.

    Raises:
        ConfigError: something in the module has no counterpart in ONNX; the message says what.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing: what a trace may get wrong is checked on the file
        try:
            torch.onnx.export(
                module.eval(),
                tuple(example.values()),
                str(path),
                dynamo=False,  # 20 times faster than torch.export, and takes encoders and operators as they are written
                input_names=list(example),
                output_names=list(outputs),
                dynamic_axes={name: dict(places) for name, places in axes.items()},
                opset_version=opset,
            )
        except (RuntimeError, TypeError, ValueError) as error:  # torch's own exporter errors are RuntimeErrors
            reason = str(error).strip().splitlines()[-1][:200]
            raise ConfigError(
                f"export: a step of this model has no operator in ONNX's opset {opset} ({reason})"
            ) from error


def check_graph(path: Path, module: nn.Module, examples: Sequence[Mapping[str, Tensor]]) -> float:
    """How far a file's first output is from the module's on rows that it was not traced with."""
    opened, worst = session(path), 0.0
    for values in examples:
        with torch.no_grad():
            out = module(*values.values())
        expected = (out if isinstance(out, Tensor) else out[0]).numpy()
        worst = max(worst, difference(expected, run(opened, {name: x.numpy() for name, x in values.items()})[0]))
    if worst > TOLERANCE:
        raise ModelError(
            f"export: the file would answer otherwise than the model (by {worst:g}, on random rows), so nothing was written; an "
            "operator or encoder of another package may compute what a graph cannot hold (len() or bool() of a tensor)"
        )
    return worst


def session(path: Path) -> Any:
    """Onnxruntime's session of a file, on the CPU, one thread."""
    runtime = need("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConfigError(f"export: onnxruntime cannot run this model ({str(error).strip()[-200:]})") from error


def run(opened: Any, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a file; inputs that it does not have, as nothing in it depends on them, are left out."""
    known = {given.name for given in opened.get_inputs()}
    result: list[np.ndarray] = opened.run(None, {name: array for name, array in values.items() if name in known})
    return result


def difference(expected: np.ndarray, result: np.ndarray) -> float:
    """The largest difference, relative to the larger of 1 and the number; infinite where shapes differ."""
    if expected.shape != result.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        apart = np.abs(expected - result) / np.maximum(1.0, np.abs(expected))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))


def put_metadata(path: Path, facts: Mapping[str, object]) -> None:
    """Keep what is known of a file in the file itself, as JSON under ``plait``."""
    onnx = need("onnx", "onnx")
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {"plait": json.dumps(facts, ensure_ascii=True, allow_nan=False)})
    model.producer_name = "plait"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
