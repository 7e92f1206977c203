"""What an exported file takes: one or several arrays per modality, what they mean, and how rows of a table become them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.base.encoder import Encoder
from plait.base.inputs import Inputs
from plait.encoders.ngrams import KINDS, Ngrams
from plait.encoders.shape import NAMES, READ


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
    said["frequent"] = said["words"]
    how = (
        "in lower case, hashed as the formula of plait.encoders.ngrams.counted says, counted at each place; all 0: none"
    )
    result = []
    for kind, one in words.parts.items():
        places = one.places.tolist()
        if kind == "shape":
            what = f"how the first {READ:,} characters look, as plait.encoders.shape.measured says"
            facts = {"measures": [NAMES[place] for place in places]}
        else:
            what = f"{said[kind]} of the first {KINDS.get(kind, KINDS['words']):,} characters, {how}"
            facts = {"places": places}
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
