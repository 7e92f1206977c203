"""Coverage-guided fuzzing of what reads a stranger's bytes: ``python tests/campaign/fuzz.py table --runs 20000`` (atheris).

Targets: ``table`` (the first byte chooses the format), ``cells`` (words, one a line, as a column), ``schema``, ``study``,
``results``, ``model``, ``picture``, ``sound``, ``archive``. An input may give a result or a ``PlaitError``; anything else stops
the fuzzer, and the input stays in ``--corpus``, as inputs that led to new code do: the same command goes on from them. A fault
found becomes a test, its input moves to ``tests/campaign/corpus``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

for name, value in (("OMP_NUM_THREADS", "1"), ("HF_HUB_OFFLINE", "1"), ("MPLBACKEND", "Agg"), ("PLAIT_QUIET", "1")):
    os.environ.setdefault(name, value)

import atheris  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import place  # noqa: E402 - it runs commands, which must not be instrumented
import soundfile  # noqa: E402
from PIL import Image  # noqa: E402

with atheris.instrument_imports(include=["plait", "yaml"]):
    import plait
    from plait.base.errors import PlaitError
    from plait.data.archive import open_archive
    from plait.data.media import Blob
    from plait.data.media.images import image, video
    from plait.data.media.sounds import audio
    from plait.data.schema import infer
    from plait.data.schema_yaml import from_yaml, to_yaml
    from plait.data.table import read_table
    from plait.data.typed import typed
    from plait.store import model_files
    from plait.study import Results, Study

#: Bytes of an input at most.
LONGEST = 1 << 16
ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".arrow", ".csv.gz")


class Inputs:
    """The targets, each a function of some bytes; ``folder``: as ``place.make`` leaves it, its files are written over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _file(self, name: str, data: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(data)
        return path

    def table(self, data: bytes) -> None:
        ending = ENDINGS[data[0] % len(ENDINGS)] if data else ".csv"
        frame = read_table(self._file(f"fuzzed{ending}", data[1:]))
        infer(frame, root=str(self._folder))

    def cells(self, data: bytes) -> None:
        words = data.decode("utf-8", "surrogateescape").split("\n")
        frame = typed(pd.DataFrame({"column": pd.Series(words, dtype=object)}))
        infer(frame)
        infer(frame, target="column")

    def schema(self, data: bytes) -> None:
        schema = from_yaml(data.decode("utf-8", "replace"))
        assert from_yaml(to_yaml(schema)) == schema, "a schema that is written and read again is another one"

    def study(self, data: bytes) -> None:
        Study.load(self._file("study.yaml", data)).check()

    def results(self, data: bytes) -> None:
        self._file("ran/results.jsonl", data)
        results = Results.open(self._folder / "ran")
        results.frame, results.summary()  # both are made when they are asked for

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return model_files.read_model(self._folder / "m")[1]

    def model(self, data: bytes) -> None:
        """A manifest as a stranger can write it: its digests fit."""
        place, arrays = self._folder / "m", self._arrays
        try:
            held = {k: v for k, v in json.loads(data).items() if k not in ("checksum", "weights")}
            model_files.write_model(place, held, arrays, "# card\n")
        except (
            ValueError,
            TypeError,
            AttributeError,
            RecursionError,
        ):  # NaN, half a surrogate: not to be written at all
            (place / "model.json").write_bytes(data)
        plait.load(place)

    def picture(self, data: bytes) -> None:
        image(Blob.of_bytes(data))
        video(Blob.of_bytes(data), 2, 64)

    def sound(self, data: bytes) -> None:
        audio(Blob.of_bytes(data), 8000, 1.0)

    def archive(self, data: bytes) -> None:
        archive = open_archive(self._file("fuzzed.zip", data))
        for name in list(archive.members)[:3]:
            blob = archive.blob(name)
            assert blob is None or blob.digest()

    def seeds(self, target: str) -> list[bytes]:
        """Whole inputs to begin with."""
        read = lambda *names: [(self._folder / name).read_bytes()[:LONGEST] for name in names]  # noqa: E731
        if target == "table":
            few = pd.read_csv(self._folder / "t.csv").head(4)
            made = [io.BytesIO() for _ in ENDINGS]
            few.to_csv(made[0], index=False), few.to_csv(made[1], index=False, sep="\t")
            few.to_json(made[2], orient="records", lines=True), few.to_parquet(made[3]), few.to_feather(made[4])
            return [bytes([number]) + one.getvalue() for number, one in enumerate(made)]
        if target == "cells":
            return [
                word.encode()
                for word in ("1\n2.5\n-3e4\n1,234.5", "2020-01-02\n3 May 2021\n12:30", "yes\nno\n", "[1, 2]\n[3]")
            ]
        if target == "results":
            lines = (self._folder / "ran" / "results.jsonl").read_bytes().splitlines(keepends=True)
            return [lines[0]]
        if target in ("picture", "sound"):
            return pictures() if target == "picture" else sounds()
        places = {
            "schema": ("s.yaml", "media.yaml"),
            "study": ("study.yaml",),
            "model": ("m/model.json",),
            "archive": ("media.zip",),
        }
        return read(*places[target])


def pictures() -> list[bytes]:
    """The smallest of six formats."""
    pixels, made = np.arange(192, dtype=np.uint8).reshape(8, 8, 3), []
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        Image.fromarray(pixels).save(one := io.BytesIO(), kind)
        made.append(one.getvalue())
    return made


def sounds() -> list[bytes]:
    """Short ones of three formats."""
    made = []
    for kind in ("WAV", "FLAC", "OGG"):
        soundfile.write(one := io.BytesIO(), np.sin(np.arange(400) / 9), 8000, format=kind)
        made.append(one.getvalue())
    return made


TARGETS = ("table", "cells", "schema", "study", "results", "model", "picture", "sound", "archive")


def main() -> None:
    """Fuzz one target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=0, help="stop after so many; 0: after --runs alone")
    parser.add_argument("--corpus", type=Path, help="folder of inputs, kept and gone on from; default: thrown away")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plait-fuzz-") as made:
        inputs = Inputs(place.make(Path(made) / "inputs", options.target in ("model", "results")))
        corpus = options.corpus or Path(made) / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        for number, one in enumerate(inputs.seeds(options.target)):
            (corpus / f"seed-{number}").write_bytes(one)
        read: Callable[[bytes], None] = getattr(inputs, options.target)

        def once(data: bytes) -> None:
            with warnings.catch_warnings(), contextlib.suppress(PlaitError):  # a clear line is an answer
                warnings.simplefilter("ignore")
                read(data)

        kept = f"-artifact_prefix={corpus.absolute()}/"
        limits = [
            f"-runs={options.runs}",
            f"-max_total_time={options.seconds}",
            f"-max_len={LONGEST}",
            "-rss_limit_mb=3000",
        ]
        atheris.Setup([sys.argv[0], str(corpus), kept, *limits, "-timeout=60", f"-seed={options.seed}"], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
