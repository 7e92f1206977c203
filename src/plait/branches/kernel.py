"""A smooth map over all modalities: rows that are alike in all of them are answered alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plait.base.branch import FoldRows
from plait.base.checks import Count
from plait.base.errors import ModelError
from plait.base.machine import blas_on_one_core
from plait.base.tokens import Tokens
from plait.branches.solved import SolvedBranch, by_squares, matrix, shares, solve, widths

Array = NDArray[Any]
#: Inverse squared widths that are tried, in units of the mean squared distance of two rows.
NARROWNESS = (2.0, 0.5, 8.0)
#: Rows times landmarks beyond which solving takes longer than all else; the same times outputs, for the loss of classes itself.
MOST, POLISHED = 10_000_000, 5_000_000
#: Directions of the landmarks' kernel below this share of the largest are noise of the arithmetic.
SMALLEST = 1e-6
#: What it is stored as: landmarks L, features D, outputs O.
SHAPES = {"scale": "D", "landmarks": "LD", "narrowness": "", "weight": "LO", "bias": "O"}


class KernelMap(nn.Module):
    """A weighted sum of how near a row is to each landmark.

    Shape: tokens (B, T, D_m) each; landmarks (L, D); out (B, out_dim).
    """

    scale: Tensor
    landmarks: Tensor
    narrowness: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, names: Sequence[str], arrays: Mapping[str, Array]) -> None:
        super().__init__()
        self.names = list(names)
        for name in SHAPES:
            self.register_buffer(name, torch.from_numpy(np.array(arrays[name], np.float32)))

    def forward(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x = torch.cat([tokens[name].pooled() for name in self.names], 1).float() * self.scale
        far = x.square().sum(1)[:, None] + self.landmarks.square().sum(1) - 2 * x @ self.landmarks.T
        return torch.exp(-self.narrowness * far.clamp(min=0)) @ self.weight + self.bias


@dataclasses.dataclass(eq=False)
class Kernel(SolvedBranch):
    """Kernel ridge regression, or of classes and labels kernel logistic regression, with a Gaussian kernel.

    Features are how near a row is to some of the training rows; penalty and width of the kernel are those by which held-out
    rows are answered best. Each modality has the same say in how near two rows are.

    Formula: out = b + sum_j a_j exp(-g |x - z_j|^2), x all features, those of modality m divided by sqrt(D_m);
        argmin sum_i w_i loss(out_i, y_i) + |a|_K^2 / (2 strength).

    Shape: tokens (B, T, D_m) each, mean tokens are taken; out (B, out_dim).

    Source: Williams and Seeger 2001, Using the Nystrom Method to Speed Up Kernel Machines; of classes Zhu and Hastie 2005.

    Use when: rows are few, and columns act together in a smooth way.

    Not when: most columns say nothing: they make all rows alike far from each other.

    Options: ``landmarks``: training rows whose nearness is a feature, at most; ``features`` of a table beyond which it is left
    out, as where there are embeddings; ``steps`` of the solver for each strength.

    Example:
        >>> Kernel().sources(["text", "image"])
        {'kernel': ('text', 'image')}
    """

    landmarks: Count = 500
    features: Count = 250
    steps: Count = 30

    def instead(self, rows: int, features: int, outputs: int, learning: bool) -> str | None:
        """Nothing where features or rows are too many, or encoders learn, which it would not see."""
        fits = features <= self.features and rows * self.landmarks <= MOST and not learning
        return None if fits else ""

    def fit(self, rows: FoldRows) -> None:
        """Solve for each width of the kernel and one strength after another; the rows ``valid`` choose."""
        dims = widths(rows.inputs)
        names, share = sorted(dims), shares(dims)
        x, held = (matrix(rows.inputs.take(places), names) * share for places in (rows.fold, rows.valid))
        with blas_on_one_core():
            near = _landmarks(x, self.landmarks, rows.seed)
            among, far, held_far = (_squared(some, near) for some in (near, x, held))
            usual, best = max(float(among.mean()), 1e-12), list[Any]()  # one at most: features are large
            for narrowness in (one / usual for one in NARROWNESS):
                root = _root(np.exp(-narrowness * among))
                features, held_features = (np.exp(-narrowness * one) @ root for one in (far, held_far))
                solved, loss = by_squares(rows, features, held_features)
                best = [min([*best, (loss, narrowness, root, features, held_features, solved)], key=itemgetter(0))]
                if rows.stop() or not len(rows.valid):
                    break
            found, narrowness, root, features, held_features, solved = best[0]
            if rows.task != "regression" and features.size * rows.out_dim <= POLISHED and not rows.stop():
                polished, loss = solve(rows, features, held_features, self.steps)
                solved = polished if loss < found else solved
        arrays = {"scale": share, "landmarks": near, "narrowness": np.asarray(narrowness)}
        self.take(KernelMap(names, {**arrays, "weight": root @ solved[0], "bias": solved[1]}), names, len(share))

    def load_state(self, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
        names = self.named(facts)
        for name, letters in SHAPES.items():
            if name not in arrays or arrays[name].ndim != len(letters):
                raise ModelError(
                    f"branch kernel: its file lacks '{name}', or has it in another shape; copy the folder again"
                )
        sizes = {
            (letter, n)
            for name, letters in SHAPES.items()
            for letter, n in zip(letters, arrays[name].shape, strict=True)
        }
        if len(sizes) > len({letter for letter, _ in sizes}):
            raise ModelError("branch kernel: its arrays do not fit each other; copy the folder again")
        self.take(KernelMap(names, arrays), names, len(arrays["scale"]))


def _landmarks(x: Array, most: int, seed: int) -> Array:
    """Distinct rows of x, drawn where they are many."""
    drawn = x if len(x) <= most else x[np.random.default_rng(seed).permutation(len(x))[:most]]
    return np.unique(drawn, axis=0)


def _squared(x: Array, near: Array) -> Array:
    """Squared distances (n, L)."""
    far = (x**2).sum(1)[:, None] + (near**2).sum(1) - 2 * x @ near.T
    return np.asarray(np.maximum(far, 0.0, out=far))


def _root(kernel: Array) -> Array:
    """What turns nearness to landmarks (n, L) into features whose products are the kernel (n, r).

    Formula: K^(-1/2) on the directions in which the landmarks' kernel K (L, L) is more than noise.
    """
    values, vectors = np.linalg.eigh(kernel.astype(np.float64))
    kept = values > SMALLEST * values[-1]
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]), np.float32)
