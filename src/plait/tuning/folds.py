"""Which rows an encoder learns from, which ones stop it, and which ones it has never seen."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from plait.errors import ConfigError


def together(cells: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """A code (n,) of the rows that stay on one side: those of one group, and those with an equal cell.

    A row's own label is then unseen, and so is every other label of the same cell.

    Shape: cells (n,) the number of each row's distinct cell; groups (n,) integers, or None.

    Example:
        >>> together(np.array([0, 1, 1, 2]), np.array([5, 5, 6, 7])).tolist()
        [0, 0, 0, 1]
    """
    if groups is None:
        return np.unique(cells, return_inverse=True)[1]
    cells, groups = np.unique(cells, return_inverse=True)[1], np.unique(groups, return_inverse=True)[1]
    n, first = len(cells), int(cells.max(initial=0)) + 1
    nodes = first + int(groups.max(initial=0)) + 1
    graph = coo_matrix((np.ones(n), (cells, first + groups)), shape=(nodes, nodes))
    labels = connected_components(graph, directed=False)[1]
    return np.unique(labels[cells], return_inverse=True)[1]


def dealt(strata: np.ndarray, units: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """The part (n,) of each row: classes spread evenly, rows of one unit in one part.

    Raises:
        ConfigError: there are fewer units than parts.
    """
    count = len(np.unique(units))
    if count < parts:
        raise ConfigError(
            f"tune: {count} distinct cells (or groups) cannot be divided into {parts} parts; tune fewer folds"
        )
    found = np.zeros(len(strata), dtype=np.int64)
    _, place, size = np.unique(strata, return_inverse=True, return_counts=True)
    kept = np.where(size[place] < parts, -1, place)  # classes too rare to be spread are dealt out as one
    if 0 < int((kept == -1).sum()) < parts:
        kept = np.where(kept == -1, int(size.argmax()), kept)
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(splitter.split(np.zeros(len(strata)), kept, units)):
        found[held] = number
    return found


def validation_part(strata: np.ndarray, units: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Bool (n,): about that share of the rows, dealt out as ``dealt`` does."""
    parts = min(max(2, round(1 / share)), len(np.unique(units)))
    held: np.ndarray = dealt(strata, units, parts, seed) == 0
    return held
