"""Latency of `plait serve` over the loopback, beside the same model asked in the process: ratios in one run.

    python benchmarks/serve_latency.py [MODEL] [--requests 200]

Without a model one is fitted on a made-up table of numbers, a category, a text and a picture. Asked are one row with and without
the modalities' worth, a batch of 100 rows, and an upload; each is warmed up. On a busy machine look at the ratios.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import uvicorn
from PIL import Image

from plait import FusionClassifier, load
from plait.serving.app import create_app
from plait.serving.limits import Limits

WARM = 10


def made_up(rows: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    """A table whose picture, text and number each know a part of the answer."""
    rng = np.random.default_rng(0)
    red = rng.random(rows) < 0.5
    cells = []
    for one in red:
        buffer = io.BytesIO()
        pixels = np.full((64, 64, 3), (200, 60, 60) if one else (60, 60, 200)) + rng.normal(0, 40, (64, 64, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG")
        cells.append(buffer.getvalue())
    table = pd.DataFrame(
        {
            "size": rng.normal(size=rows) + red,
            "wood": rng.choice(["oak", "elm", "fir"], rows),
            "text": [
                f"a {'warm' if one and rng.random() < 0.7 else 'plain'} board of {rng.integers(9)} feet" for one in red
            ],
            "photo": pd.Series(cells, dtype=object),
        }
    )
    return table, np.where(red, "red", "blue")


def milliseconds(ask: Callable[[], Any], count: int) -> tuple[float, float]:
    """Median and the slowest of twenty."""
    taken = []
    for place in range(count + WARM):
        start = time.perf_counter()
        ask()
        if place >= WARM:
            taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1]


def main() -> None:
    """Print medians, and each as a multiple of the first."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", nargs="?", type=Path)
    options.add_argument("--requests", type=int, default=200)
    given = options.parse_args()
    table, y = made_up()
    with tempfile.TemporaryDirectory() as folder:
        if given.model is None:
            model = FusionClassifier(store=f"{folder}/store", progress=False).fit(table, y)
        else:
            model, table = load(given.model), table[:0]
        columns = list(model.schema_.columns)
        row = {} if given.model else {**table[["size", "wood", "text"]].iloc[0].to_dict()}
        photo = None if given.model else table["photo"].iloc[0]
        with_photo = row | (
            {} if photo is None else {"photo": f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"}
        )
        frame = pd.DataFrame([row]).reindex(columns=columns)
        frame["photo"] = pd.Series([photo], dtype=object) if photo is not None else None
        server = uvicorn.Server(uvicorn.Config(create_app(model, Limits(rows=1000)), port=0, log_level="critical"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            batch = json.dumps({"rows": [with_photo] * 100})
            fields = {k: str(v) for k, v in row.items()}
            files = {} if photo is None else {"photo": ("x.jpg", photo, "image/jpeg")}
            head = {"content-type": "application/json"}
            cases: dict[str, tuple[Callable[[], Any], int]] = {
                "in the process": (lambda: model.predict_proba(frame), given.requests),
                "health": (lambda: client.get("/health"), given.requests),
                "one row": (lambda: client.post("/predict?worth=false", json=with_photo), given.requests),
                "one row, with worth": (lambda: client.post("/predict", json=with_photo), given.requests),
                "an upload": (
                    lambda: client.post("/predict/upload?worth=false", data=fields, files=files),
                    given.requests,
                ),
                "100 rows": (
                    lambda: client.post("/predict/batch", content=batch, headers=head),
                    max(1, given.requests // 10),
                ),
            }
            first = None
            for name, (ask, count) in cases.items():
                median, slow = milliseconds(ask, count)
                first = first or median
                print(
                    f"{name:22} median {median:8.1f} ms   95 % {slow:8.1f} ms   {median / first:6.2f} times the first"
                )
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
