"""Seconds, memory and disk of encode, fit, predict and evaluate as a table grows: one line of JSON for each, resumable.

    python benchmarks/scale.py --rows 10000 100000 --out scale.jsonl
    python benchmarks/scale.py --rows 1000000 --out scale.jsonl  # only what is not there yet
    python benchmarks/scale.py --page docs/evidence/scale.md  # the page and its picture, from scale.jsonl beside it

The table is made up: twenty numbers, four categories, a short text of words from a large vocabulary, and a target of two
classes that hangs on all three. It is written in pieces; each command runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plait.data import schema
from plait.report.canvas import svg
from plait.report.charts import Curve
from plait.report.curves import Panel, panels_figure

PIECE = 50_000
_SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "sa", "te", "vo", "fi", "ga", "do", "pe", "li", "bu", "ro")
WORDS = [a + b + c + d for a in _SYLLABLES for b in _SYLLABLES for c in _SYLLABLES for d in _SYLLABLES]  # 50,625
COMMANDS = ("encode", "fit", "predict", "evaluate")


def piece(rows: int, seed: int, vector: int = 0) -> pa.Table:
    """Some rows of the table, with a column of vectors as wide as told; words of half the vocabulary speak for one class."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, 20))
    categories = rng.integers(0, [4, 12, 60, 300], (rows, 4))
    words = (len(WORDS) * rng.random((rows, 6)) ** 3).astype(np.int64)  # some words are common
    score = numbers[:, :3].sum(1) + (categories[:, 1] - 5.5) / 3 + 2 * (words % 2 - 0.5).sum(1) + rng.normal(size=rows)
    columns: dict[str, object] = {f"number{i}": numbers[:, i].round(4) for i in range(20)}
    columns |= {f"category{i}": [f"c{i} {code}" for code in categories[:, i]] for i in range(4)}
    columns["text"] = [" ".join(WORDS[word] for word in row) for row in words.tolist()]
    if vector:
        values = rng.normal(size=(rows, vector)).astype(np.float32)
        score += values[:, 0]
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), vector)
    columns["target"] = np.where(score > 0, "up", "down")
    return pa.table(columns)


def write(rows: int, path: Path, vector: int = 0) -> None:
    """The table of so many rows, whole or not at all."""
    if path.exists():
        return
    part = path.with_suffix(".part")
    writer = None
    for number, start in enumerate(range(0, rows, PIECE)):
        table = piece(min(PIECE, rows - start), number, vector)
        writer = writer or pq.ParquetWriter(part, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    part.rename(path)


def narrow(table: Path, place: Path, encoder: str, width: int) -> None:
    """The schema of the table's first rows, with so wide an encoder of the text and few features of numbers and categories."""
    frame = next(pq.ParquetFile(table).iter_batches(20_000)).to_pandas()
    found = schema.infer(frame, target="target", root=str(table.parent))
    encoders = {
        "text": {"name": encoder, "width": width},
        "tabular": {"name": "tabular", "bins": 0, "max_categories": 30},
    }
    modalities = tuple(replace(m, encoder=encoders.get(m.kind)) for m in found.modalities)
    place.write_text(schema.to_yaml(replace(found, modalities=modalities)))


def arguments(command: str, table: Path, folder: Path, options: argparse.Namespace) -> list[str]:
    """What is run; the store of a size is its own, so that nothing is found that an earlier size has encoded."""
    store, model = ["--store", str(folder / "store")], str(folder / "model")
    text = ["--encoder", f"text={options.encoder}"]
    if options.width is not None:
        narrow(table, folder / "schema.yaml", options.encoder, options.width)
        text = ["--schema", str(folder / "schema.yaml")]
    if command == "encode":
        return ["encode", str(table), "--target", "target", *text, *store]
    if command == "fit":
        budget = [] if options.minutes is None else ["--minutes", str(options.minutes)]
        budget += shlex.split(options.fit)
        return ["fit", str(table), "--target", "target", "--out", model, "--seed", "0", *budget, *text, *store]
    if command == "predict":
        return ["predict", model, str(table), "--out", str(folder / "answers.parquet"), *store]
    return ["evaluate", model, str(table), "--json", *store]


def run(command: str, table: Path, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """One command in a process of its own: seconds by the clock and of the processor, greatest memory, bytes on disk."""
    call = [sys.executable, "-m", "plait", *arguments(command, table, folder, options)]
    clock = time.perf_counter()
    with (folder / f"{command}.out").open("wb") as out, (folder / f"{command}.err").open("wb") as err:
        process = subprocess.Popen(call, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    disk = sum(path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file())
    return {
        "command": command,
        "exit": process.returncode,
        "seconds": round(time.perf_counter() - clock, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1000),
        "table_mb": round(table.stat().st_size / 1e6, 1),
        "store_mb": round(disk / 1e6, 1),
        "load": round(os.getloadavg()[0], 1),
    }


_INTRODUCTION = """# A million rows

Built by `python benchmarks/scale.py --page docs/evidence/scale.md` from `scale.jsonl`, which
`python benchmarks/scale.py --rows 10000 100000` writes. The table is made up: twenty numbers, four categories (4 to 300
levels), a text of six words from a vocabulary of 50,625 (nearly every text is another one), two classes. Texts are encoded by
`hashed_ngrams` (1,024 features, the widest of plait's own). Each command ran once, in a process of its own, on two cores that
other work shared (the column *load*): the clock says little, the processor's seconds more, memory and disk do not hang on it.
*before*: the version of a day earlier. *disk*: the store of embeddings. `feature_memory` is at its usual 256 MB.
The lines of encode were measured before it took smaller pieces. *narrow* is the version of today on the same table with a column
of vectors of 8 numbers beside it, with 64 features of the text, numbers without steps and 30 levels a category, and `fit` made
lighter (`--vector 8 --width 64 --label narrow --fit "--quality light"`): what ten million rows were tried with.

A million rows of this table (nearly a million different texts), each command **within a memory group of the limit
given**, which counts the pages of files that it reads, too (`python benchmarks/memory_limit.py GB -- plait ...`);
once each, on a machine at load 2 to 16. All ended well. The system takes pages of files back at the limit, so *all*
may reach it; *own* is what the process alone had.

| command | limit | all | own | processor s | clock s |
|---|---|---|---|---|---|
| (1) `plait encode T --target target --encoder text=hashed_ngrams --store S` | 2 GB | 2.0 | 1.46 | 264 | 2,093 |
| (2) `plait fit T --target target --encoder text=hashed_ngrams --store S` | 4 GB | 4.0 | 2.85 | 777 | 2,028 |
| (3) the same, made lighter | 4 GB | 4.0 | 2.87 | 314 | 1,118 |
| (4) `plait predict MODEL T --store none` | 2 GB | 0.63 | 0.57 | 114 | 910 |
| (5) `plait evaluate MODEL T --store none` | 4 GB | 3.06 | 2.95 | 173 | 204 |

(1) into an empty store. (2) the default: two members, all branches, the report; cells in the store. (3) quality
`light`, one member, one epoch, branches `joint` and `linear`, no report. The default fit took its members' early
stopping, mixture and leaderboard from 50,000 of 170,000 held-out rows, and said so; accuracy on 150,000 test rows
0.725 (0.723 to 0.728), the best baseline 0.711.

**Ten million rows, narrow** (a table of 1.7 GB, answers of 0.2), each once, beside other work (load 6 to 11):

| command | limit | all | own | processor s | clock s |
|---|---|---|---|---|---|
| `plait encode T --schema S --store D`, into an empty store | 2 GB | 2.0 | 1.54 | 1,033 | 1,442 |
| the same before small cells were written together | none | 5.1 | – | 1,178 | 3,175 |
| `plait fit T --schema S --store D --quality light --sample 1000000` (625,000 rows) | 4 GB | 4.0 | 3.18 | 202 | 685 |
| `plait predict MODEL T --store D`, all ten million | 2 GB | 1.1 | 0.39 | 701 | 2,477 |
| `plait evaluate MODEL T --store D --held-out --sample 1000000` (93,750 rows) | 4 GB | 4.0 | 3.17 | 53 | 138 |

The store has 1.75 GB; it had 2.98, and that of `predict` and `evaluate` still was such, as their model was of a version
before. No report was written. Accuracy 0.743 (0.740 to 0.746) on 93,750 rows, the best baseline (linear) 0.736. **Two
faults were found by it.** pyarrow keeps what it has read of a Parquet file unless it is told not to (170 MB a million rows
of this table), which ended a first `predict` at its limit. And each small cell lay on a page of LMDB's tree that its hash
chose: within 2 GB `encode` came to a standstill at a quarter of the rows, once the tree no longer fitted into the memory
(131 GB written for a store of 0.9, 48 read). Cells that are stored together are one record now: 393,216 cells of 64 numbers
wrote 4.1 GB before and 0.07 now, and the store has 64 MB instead of 166 (by a script that is not in the project, once
each).

**More workers**: the same `encode` with `--engine ray --workers N` (Ray's start counts; the seconds by the clock alone,
load 3 to 4): 10,000 rows 9.4 s in one process, 25.0 by one worker, 15.6 by two; 100,000 rows 27.1, 27.7 and 28.2 s. On two
cores that others share workers bring nothing for cells as cheap as these. The lines of encode, fit and predict for 10,000
and 100,000 rows are of today's version.

`evaluate` answers 65,536 rows at a time since; its lines below were measured before that.
"""


def page(place: Path) -> None:
    """The table of all that was measured, and its picture."""
    lines = [json.loads(line) for line in place.with_suffix(".jsonl").read_text().splitlines()]
    lines = sorted((line for line in lines if line["exit"] == 0), key=lambda one: (one["rows"], one["label"]))
    drawn = [*((command, "narrow") for command in COMMANDS), ("encode", "now"), ("fit", "now")]
    panels = [
        Panel(
            title, up, [_curve(lines, command, label, key, unit) for command, label in drawn], across="rows", log=True
        )
        for title, up, key, unit in (
            ("greatest memory", "GB", "peak_mb", 1000),
            ("time", "processor seconds", "processor_seconds", 1),
        )
    ]
    place.with_suffix(".svg").write_text(svg(panels_figure(panels)))
    rows = [
        f"| {one['command']} | {one['label']} | {one['rows']:,} | {_number(one['processor_seconds'])} | {one['seconds']:,.0f} | "
        f"{one['peak_mb'] / 1000:.2f} | {one['store_mb']:,.0f} | {one['load']:.0f} | {one.get('note', '')} |"
        for command in COMMANDS
        for one in lines
        if one["command"] == command
    ]
    head = "| command | version | rows | processor s | clock s | peak GB | disk MB | load | |\n" + "|---" * 9 + "|"
    picture = f"![Memory and time by the number of rows]({place.with_suffix('.svg').name})"
    place.write_text("\n".join([_INTRODUCTION, picture, "", head, *rows, ""]))


def _curve(lines: list[dict[str, Any]], command: str, label: str, key: str, unit: float) -> Curve:
    own = [one for one in lines if (one["command"], one["label"]) == (command, label)]
    name = command if label == "now" else f"{command}, {label}"
    own = [one for one in own if one[key] is not None]
    return Curve(name, [one["rows"] for one in own], [one[key] / unit for one in own])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def main() -> None:
    """Measure what the file of results does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--commands", nargs="+", default=COMMANDS, choices=COMMANDS)
    parser.add_argument("--encoder", default="hashed_ngrams", help="of the text")
    parser.add_argument("--width", type=int, help="of the encoder of the text; else its usual one")
    parser.add_argument("--vector", type=int, default=0, help="numbers in a column of vectors; 0: no such column")
    parser.add_argument("--fit", default="", help="more options of fit, as on a command line")
    parser.add_argument("--minutes", type=float, help="budget of fit")
    parser.add_argument("--label", default="now", help="which version is measured")
    parser.add_argument("--work", type=Path, default=Path("scale"), help="where tables, stores and models lie")
    parser.add_argument("--out", type=Path, default=Path("scale.jsonl"))
    parser.add_argument("--page", type=Path, help="write the page from the results that lie beside it")
    options = parser.parse_args()
    if options.page is not None:
        page(options.page)
        return
    done = set()
    if options.out.exists():
        lines = [json.loads(line) for line in options.out.read_text().splitlines()]
        done = {(line["label"], line["rows"], line["command"]) for line in lines if line["exit"] == 0}
    for rows in options.rows:
        folder = options.work / f"{options.label}-{rows}"
        folder.mkdir(parents=True, exist_ok=True)
        table = options.work / f"rows-{rows}{f'-{options.vector}' * (options.vector > 0)}.parquet"
        write(rows, table, options.vector)
        for command in options.commands:
            if (options.label, rows, command) in done:
                continue
            line = {"label": options.label, "rows": rows, **run(command, table, folder, options)}
            if command == "fit" and options.minutes is not None:
                line["note"] = f"--minutes {options.minutes:g}"
            print(json.dumps(line), flush=True)
            with options.out.open("a") as out:
                out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
