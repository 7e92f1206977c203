"""Exact Shapley values and interactions of few players: every subset is at hand, nothing is sampled.

A game is an array (..., 2^M): the value of each subset, told by its bits (player i is in subset s when ``s >> i & 1``).
"""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def values(game: Array) -> Array:
    """Shapley value of each player.

    Formula: phi_i = sum over S without i of |S|! (M - |S| - 1)! / M! * (v(S + i) - v(S))
    Shape: (..., 2^M) -> (..., M)
    Source: Shapley, 1953.

    Example:
        >>> values(np.array([0.0, 1.0, 2.0, 5.0])).tolist()
        [2.0, 3.0]
    """
    players = _players(game)
    subsets = np.arange(1 << players)
    size = np.array([int(s).bit_count() for s in subsets])
    weight = np.array([factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)])
    parts = []
    for i in range(players):
        without = subsets[subsets >> i & 1 == 0]
        # The differences first: a player that never changes anything gets exactly 0, not a rounding error.
        parts.append((game[..., without | 1 << i] - game[..., without]) @ weight[size[without]])
    return np.stack(parts, axis=-1)


def interactions(game: Array) -> Array:
    """Shapley interaction index of each pair: above 0 they help each other, below 0 they say the same.

    Formula: I_ij = sum over S without i, j of |S|! (M - |S| - 2)! / (M - 1)! * (v(S+ij) - v(S+i) - v(S+j) + v(S))
    Shape: (..., 2^M) -> (..., M (M - 1) / 2), pairs in the order of ``pairs``
    Source: Grabisch and Roubens, 1999.

    Example:
        >>> interactions(np.array([0.0, 1.0, 2.0, 5.0])).tolist()
        [2.0]
    """
    players = _players(game)
    subsets = np.arange(1 << players)
    size = np.array([int(s).bit_count() for s in subsets])
    weight = np.array([factorial(s) * factorial(players - s - 2) / factorial(players - 1) for s in range(players - 1)])
    parts = []
    for i, j in pairs(players):
        a, b = 1 << i, 1 << j
        rest = subsets[subsets & (a | b) == 0]
        joint = (game[..., rest | a | b] - game[..., rest | a]) - (game[..., rest | b] - game[..., rest])
        parts.append(joint @ weight[size[rest]])
    return np.stack(parts, axis=-1) if parts else np.zeros((*game.shape[:-1], 0))


def pairs(players: int) -> list[tuple[int, int]]:
    """Every pair of players, in order."""
    return list(combinations(range(players), 2))


def _players(game: Array) -> int:
    return int(game.shape[-1]).bit_length() - 1
