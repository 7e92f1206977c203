"""Latency of `plait serve` over the loopback, beside the same model asked in the process.

    python benchmarks/serve_latency.py [--requests 200]

A model is fitted on a made-up table of numbers, a category, a text and a picture. Every request brings a text and a picture that
were never seen, so that both are encoded each time. On a busy machine look at the processor's time (of client and server) and the
ratios.
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import torch
import uvicorn
from PIL import Image

from plait import FusionClassifier, load
from plait.serving.app import create_app
from plait.serving.limits import Limits

WARM = 5


def made_up(rows: int = 400, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A table whose picture, text and number each know a part of the answer."""
    rng = np.random.default_rng(seed)
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
                f"a {'warm' if one and rng.random() < 0.7 else 'plain'} board of {rng.integers(100_000)} feet"
                for one in red
            ],
            "photo": pd.Series(cells, dtype=object),
        }
    )
    return table, np.where(red, "red", "blue")


def milliseconds(ask: Callable[[], Any], count: int) -> tuple[float, float, float]:
    """By the clock the median and the slowest of twenty; of the processor the median."""
    taken, worked = [], []
    for place in range(count + WARM):
        start, work = time.perf_counter(), time.process_time()
        ask()
        if place >= WARM:
            taken.append(1000 * (time.perf_counter() - start))
            worked.append(1000 * (time.process_time() - work))
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1], statistics.median(worked)


def processor() -> str:
    """What the processor calls itself."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is posted, the picture written out."""
    return row | {"photo": f"data:image/jpeg;base64,{base64.b64encode(row['photo']).decode()}"}


def cases_of(model: Any, client: httpx.Client, table: pd.DataFrame) -> dict[str, tuple[Callable[[], Any], int]]:
    """What is asked, and how many times fewer than one row."""
    rows: Iterator[dict[Any, Any]] = itertools.cycle(table.to_dict("records"))
    plain: Iterator[dict[Any, Any]] = itertools.cycle(table[["size", "wood"]].to_dict("records"))

    def upload() -> httpx.Response:
        row = next(rows)
        fields = {name: str(row[name]) for name in ("size", "wood", "text")}
        return client.post("/predict/upload?worth=false", data=fields, files={"photo": ("x.jpg", row["photo"])})

    def batch(count: int) -> httpx.Response:
        return client.post("/predict/batch", json={"rows": [as_json(next(rows)) for _ in range(count)]})

    return {
        "in the process, one row": (lambda: model.predict_proba(pd.DataFrame([next(rows)])), 1),
        "health": (lambda: client.get("/health"), 1),
        "one row, numbers alone": (lambda: client.post("/predict?worth=false", json=next(plain)), 1),
        "one row, text and picture": (lambda: client.post("/predict?worth=false", json=as_json(next(rows))), 1),
        "the same, with worth": (lambda: client.post("/predict", json=as_json(next(rows))), 1),
        "the same, picture uploaded": (upload, 1),
        "32 rows, text and picture": (lambda: batch(32), 10),
    }


def main() -> None:
    """Print what each way of asking takes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--requests", type=int, default=200)
    given = options.parse_args()
    print(f"{processor()}, {torch.get_num_threads()} threads, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        FusionClassifier(store="none", progress=False).fit(*made_up()).save(f"{folder}/model")
        model = load(f"{folder}/model").set_params(store="none")  # what an earlier run has encoded is not found again
        new, _ = made_up(3000, seed=1)
        server = uvicorn.Server(uvicorn.Config(create_app(model, Limits(rows=1000)), port=0, log_level="critical"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            first = None
            for name, (ask, fewer) in cases_of(model, client, new).items():
                median, slow, worked = milliseconds(ask, given.requests // fewer)
                first = first or worked
                print(
                    f"{name:28} p50 {median:7.1f} ms  p95 {slow:7.1f} ms  processor {worked:7.1f} ms  "
                    f"{worked / first:5.2f} times the first",
                    flush=True,
                )
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
