"""Two dimensions to look at."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from plait.base.errors import ConfigError, nearest, need

WAYS = ("pca", "tsne", "umap")
#: As pages write them.
LABELS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def available() -> tuple[str, ...]:
    """The ways whose package is installed."""
    return tuple(way for way in WAYS if way != "umap" or find_spec("umap"))


def project(x: np.ndarray, way: str, *, seed: int = 0) -> np.ndarray:
    """Rows on a plane.

    ``pca``: the two directions of most variance; distances there are true shadows. ``tsne`` and ``umap``: neighbours stay
    neighbours, everything else (distances between clusters, their sizes) means nothing.

    Shape: (n, D) to (n, 2) float32.

    Source: van der Maaten and Hinton 2008 (t-SNE, by scikit-learn, perplexity 30 or a quarter of the rows, started from PCA);
        McInnes et al. 2018 (UMAP, package ``umap-learn``).

    Example:
        >>> project(np.array([[0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 5.0, 0.1]]), "pca").shape
        (3, 2)
    """
    if way not in WAYS:
        raise ConfigError(f"unknown projection '{way}': {nearest(way, WAYS)}")
    x = np.asarray(x, dtype=np.float64)
    flat = _pca(x)
    if way == "pca" or len(x) < 8:
        return flat.astype(np.float32)
    x = x if x.shape[1] <= 50 else _pca(x, 50)  # as the authors do: noise suppressed, distances cheaper
    if way == "umap":
        reducer = need("umap", "umap").UMAP(random_state=seed, n_neighbors=min(15, len(x) - 1))
        return np.asarray(reducer.fit_transform(x), dtype=np.float32)
    from sklearn.manifold import TSNE

    start = flat / max(float(flat[:, 0].std()), 1e-12) * 1e-4
    perplexity = min(30.0, max(2.0, len(x) / 4))
    reducer = TSNE(init=start.astype(np.float32), perplexity=perplexity, random_state=seed)
    return np.asarray(reducer.fit_transform(x.astype(np.float32)), dtype=np.float32)


def _pca(x: np.ndarray, width: int = 2) -> np.ndarray:
    """(n, width): scores of the first directions, the largest loading of each positive; zeros beyond the rank."""
    centred = x - x.mean(0)
    u, s, v = np.linalg.svd(centred, full_matrices=False)
    count = min(width, len(s))
    signs = np.sign(v[np.arange(count), np.abs(v[:count]).argmax(1)])
    result = np.zeros((len(x), width))
    result[:, :count] = u[:, :count] * s[:count] * np.where(signs == 0, 1.0, signs)
    return result
