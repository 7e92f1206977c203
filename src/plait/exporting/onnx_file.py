"""The ONNX file of a model: the arrays that it takes, and how it is written and held against the module that it was made of."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, ModelError, need
from plait.base.inputs import Inputs
from plait.encoders.ngrams import Ngrams, source_of
from plait.encoders.shape import NAMES, READ
from plait.encoders.word_counts import KINDS, PAIR, PLACE, SIGN


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """One input of the file.

    Attributes:
        name: in the file.
        dtype: numpy's name of its type.
        shape: ``rows`` first; a word is a length that may differ from call to call.
        what: how it is made, in a sentence.
        facts: what its preparation needs beside that: levels of a category, items, an order.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    what: str
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As it stands beside the file."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape), "what": self.what, **self.facts}

    def example(self, rows: int, tokens: int, generator: np.random.Generator) -> np.ndarray:
        """Random values of this shape."""
        shape = [rows, *(tokens if isinstance(size, str) else size for size in self.shape[1:])]
        if self.dtype == "bool":
            drawn = generator.random(shape) < 0.7
            return np.flip(np.sort(drawn, axis=-1), -1).copy() if len(shape) > 1 else drawn  # steps, then padding
        if self.dtype.startswith(("int", "uint")):
            least, most = self.facts.get("range", (0, 2))
            drawn = generator.integers(least, most, shape).astype(self.dtype)
            return np.flip(np.sort(drawn, axis=-1), -1).copy() if len(shape) > 1 else drawn
        return generator.normal(size=shape).astype(self.dtype)


def present_input(name: str) -> InputSpec:
    """The input that says which rows have a modality."""
    return InputSpec(
        f"{name}.present", "bool", ("rows",), f"False where the row has no {name}: all else of it is ignored"
    )


#: As ``plait.encoders.word_counts.counted`` does, for whoever has the file alone.
HASHED = (
    "put a blank before and behind the text; a word's key is sum_i c_i A^i over its characters' code points, i from 0; that of a "
    "pair of words is key_1 B + key_2; that of a group of 3 or 4 characters is sum_i c_i A^(i + its length), where all white "
    "space is code point 32; place = (key C) >> 52; all modulo 2^64"
)

#: As ``plait.encoders.shape.measured`` does, for the same.
LOOKS = (
    "the text without blanks at its ends, each \\r\\n being one \\n: a character is a sign of ASCII's punctuation, else a "
    "capital, a small letter, a digit, another letter, or a blank, the first that Python's str.isupper, islower, isdigit, "
    "isalpha, isspace says; a word is a run of capitals, small letters, digits and other letters; \\n parts lines. A share: its "
    "characters / all; capitals that follow another: those behind a capital; blanks: with line ends; beyond ASCII: above 127. "
    f"All else: log(1 + count), counted being the characters (all, not the first {READ:,}), words, lines, characters of the "
    "longest line, characters in words / words, lines without a character, a sign, lines that begin with one, ``` or :// or "
    "![ from left to right; nothing / nothing: 0"
)


def token_inputs(name: str, encoder: Encoder, dim: int) -> list[InputSpec]:
    """Inputs of a modality whose encoder is frozen: what that encoder gives."""
    said = (
        f"what the encoder '{encoder.name()}' gives, before any scaling: one token a row for most encoders, several for "
        "sequences and for several columns"
    )
    facts = {"encoder": encoder.name(), "options": encoder.options()}
    return [
        InputSpec(name, "float32", ("rows", f"{name} tokens", dim), said, facts),
        InputSpec(
            f"{name}.mask", "bool", ("rows", f"{name} tokens"), f"True where there is a token; all False: no {name}"
        ),
    ]


def words_inputs(name: str, words: Ngrams) -> list[InputSpec]:
    """The inputs of a text's words and letters, how often each stands in it, and of how it looks."""
    said = {
        "words": r"words (\w+) and pairs of words that follow each other",
        "letters": "groups of 3 and 4 characters, blanks that follow each other being one",
    }
    how = "in lower case, hashed as the formula says, counted at each place; all 0: none"
    hashed: dict[str, Any] = {"formula": HASHED, "A": hex(SIGN), "B": hex(PAIR), "C": hex(PLACE)}
    result = []
    for kind, one in words.parts.items():
        places = one.places.tolist()
        if kind == "shape":
            what = f"how the first {READ:,} characters look, one of the measures a column, as the formula says"
            facts: dict[str, Any] = {"measures": [NAMES[place] for place in places], "formula": LOOKS}
        else:
            counted, place = source_of(kind)
            of = f" of its column {place}" if place else ""
            what = f"{said[counted]} of the first {KINDS[counted]:,} characters{of}, {how}"
            facts = {"places": places, **hashed}
        dtype = "float32" if kind == "shape" else "int32"
        result.append(InputSpec(f"{name}.{kind}", dtype, ("rows", len(places)), what, facts))
    return result


def prepared_inputs(name: str, encoder: Encoder) -> list[InputSpec]:
    """Inputs of a modality whose encoder learned with the model and is part of the file: what its ``prepare`` gives."""
    said = f"what prepare() of the encoder '{encoder.name()}' gives for the cells; zeros for absent rows"
    facts = {"encoder": encoder.name(), "options": encoder.options()}
    arrays = encoder.prepare([])
    made = [
        InputSpec(f"{name}.{key}", str(array.dtype), ("rows", *array.shape[1:]), said, facts)
        for key, array in arrays.items()
        if key != "present"  # which has an input of its own
    ]
    return [*made, present_input(name)]


def shaped(spec: InputSpec, values: Mapping[str, np.ndarray], present: np.ndarray) -> np.ndarray:
    """A learning encoder's array (n, ...) at its place; ``values`` are of the rows."""
    array = values[spec.name.rpartition(".")[2]]
    return np.asarray(np.where(present.reshape(-1, *[1] * (array.ndim - 1)), array, np.zeros_like(array)))


def fed_tokens(name: str, inputs: Inputs) -> dict[str, np.ndarray]:
    """The two arrays of a frozen modality, from rows that were encoded and not yet scaled."""
    tokens = inputs.tokens[name]
    return {name: tokens.x.float().numpy(), f"{name}.mask": (tokens.mask & inputs.present[name][:, None]).numpy()}


def fed_prepared(name: str, specs: list[InputSpec], inputs: Inputs) -> dict[str, np.ndarray]:
    """The arrays of a modality whose encoder learned."""
    present = inputs.present[name].numpy()
    values = {key: array.numpy() for key, array in inputs.prepared[name].items()}
    result = {s.name: shaped(s, values, present) for s in specs if not s.name.endswith(".present")}
    return {**result, f"{name}.present": present}


def tensors(values: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Arrays as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in values.items()}


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
