"""Vectors that are searched by cosine similarity: exactly in blocks, or through a graph of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch

from plait.alignment.network import units
from plait.base.errors import ConfigError, MissingDependencyError, ModelError, TableError, warn

#: Rows and queries whose similarities are in memory at a time: 256 MB of float32.
ROWS, QUERIES = 65_536, 1024
#: A graph is asked for at most this part of an index; for more, looking at all vectors is as fast, and exact.
FAR = 4
#: Links per vector and width of the search when the graph is built: the usual values of HNSW.
LINKS, BREADTH = 32, 200


class Hit(NamedTuple):
    """One answer of a search: what was found, and its cosine similarity to the query."""

    label: Any
    similarity: float


class Index:
    """Vectors of length one with a label each; vectors that are zero (absent cells) are left out.

    Example:
        >>> index = Index(np.eye(3, dtype=np.float32), ["x", "y", "z"])
        >>> index.search(np.array([[0.0, 2.0, 1.0]], dtype=np.float32), 2)[0][0].label
        'y'
    """

    def __init__(self, vectors: np.ndarray, labels: Sequence[Any] | None = None, *, how: str = "exact") -> None:
        """Over vectors (n, D); ``labels`` are the row numbers where none are given.

        ``labels``: JSON values, one per vector; ``how``: ``exact``, or ``approximate`` with hnswlib or faiss.
        """
        if how not in ("exact", "approximate"):
            raise ConfigError(f"index: expected 'exact' or 'approximate', found '{how}'")
        if labels is not None and len(labels) != len(vectors):
            raise ConfigError(f"index: {len(vectors)} vectors and {len(labels)} labels; there must be one each")
        vectors = units(vectors)
        there = vectors.any(1)
        kept = np.flatnonzero(there).tolist()
        self._put(np.ascontiguousarray(vectors[there]), kept if labels is None else [labels[row] for row in kept], how)

    def _put(self, vectors: np.ndarray, labels: list[Any], how: str) -> None:
        self.vectors, self.labels, self.how = vectors, labels, how
        self._graph = _Graph(vectors) if how == "approximate" and len(vectors) else None

    @classmethod
    def restore(cls, vectors: np.ndarray, labels: Sequence[Any], how: str) -> Index:
        """Rebuild from saved arrays, equal to the bit; exact where no package for a graph is installed, with a warning."""
        if how not in ("exact", "approximate") or vectors.ndim != 2 or len(labels) != len(vectors):
            raise ModelError(f"index: {len(labels)} labels for vectors of shape {vectors.shape} ({how}); fit it again")
        result = cls.__new__(cls)
        if how == "approximate" and find_spec("hnswlib") is None and find_spec("faiss") is None:
            warn("the index was approximate, and neither hnswlib nor faiss is installed here: it is searched exactly")
            result._put(vectors, list(labels), "exact")
            result.how = how  # as it was built: saved again, and loaded where there is one, it has its graph
        else:
            result._put(vectors, list(labels), how)
        return result

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: np.ndarray, k: int) -> list[list[Hit]]:
        """The k most similar of each query (q, D), best first; of equal ones the earlier row.

        Raises:
            TableError: the index is empty, k is larger than it, or a query is a zero vector.
        """
        if not len(self):
            raise TableError("the index is empty: nothing was put in, or all its cells are absent")
        if not 1 <= k <= len(self):
            raise TableError(f"k = {k}: the index holds {len(self):,} vectors; ask for 1 to {len(self):,}")
        queries = units(queries)
        if not queries.any(1).all():
            row = int(queries.any(1).argmin())
            raise TableError(f"query {row} is absent or a zero vector: there is nothing to search for")
        scores, rows = self._nearest(queries, k)
        return [
            [Hit(self.labels[r], float(s)) for s, r in zip(line, places, strict=True)]
            for line, places in zip(scores.tolist(), rows.tolist(), strict=True)
        ]

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self._graph is not None and k <= len(self) // FAR:
            scores, rows = self._graph.search(queries, k)
            if (rows >= 0).all():  # a graph may lead to fewer than k
                return scores, rows
        result = [self._block(torch.from_numpy(queries[s : s + QUERIES]), k) for s in range(0, len(queries), QUERIES)]
        return np.concatenate([s for s, _ in result]), np.concatenate([r for _, r in result])

    def _block(self, queries: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best of every block of rows, kept while the next is looked at."""
        vectors = torch.from_numpy(self.vectors)
        scores = torch.empty(len(queries), 0)
        rows = torch.empty(len(queries), 0, dtype=torch.int64)
        for start in range(0, len(vectors), ROWS):
            new = queries @ vectors[start : start + ROWS].T  # (q, block)
            best, places = new.topk(min(k, new.shape[1]), dim=1)
            scores, rows = torch.cat([scores, best], 1), torch.cat([rows, places + start], 1)
            order = np.lexsort((rows.numpy(), -scores.numpy()), axis=1)[:, :k].copy()
            scores, rows = scores.gather(1, torch.from_numpy(order)), rows.gather(1, torch.from_numpy(order))
        return scores.numpy(), rows.numpy()


class _Graph:
    """Hierarchical navigable small worlds (Malkov and Yashunin 2018), by whichever package is installed."""

    def __init__(self, vectors: np.ndarray) -> None:
        if find_spec("hnswlib") is not None:
            self._index: Any = import_module("hnswlib").Index(space="ip", dim=vectors.shape[1])
            self._index.init_index(max_elements=len(vectors), M=LINKS, ef_construction=BREADTH, random_seed=0)
            self._index.add_items(vectors, num_threads=1)  # of several threads each time another graph would come
        elif find_spec("faiss") is not None:
            faiss = import_module("faiss")
            self._index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efConstruction = BREADTH
            self._index.add(vectors)
        else:
            raise MissingDependencyError(
                "an approximate index needs hnswlib or faiss, and neither is installed; "
                "run: pip install hnswlib (or faiss-cpu), or take the exact index"
            )

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Similarities and rows (q, k)."""
        if hasattr(self._index, "knn_query"):
            self._index.set_ef(max(2 * k, BREADTH))
            rows, distances = self._index.knn_query(queries, k=k, num_threads=1)
            return 1.0 - distances, rows.astype(np.int64)
        self._index.hnsw.efSearch = max(2 * k, BREADTH)
        scores, rows = self._index.search(queries, k)
        return scores, rows
