"""Run the scripts of ``examples/gallery``: their pictures and notebooks go to ``build/gallery``, where the site takes them from.

python tools/gallery.py                 # as they are, each under a minute
python tools/gallery.py --rows 120      # small, all within a minute, as CI does
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "examples" / "gallery"


def run(script: Path, out: Path) -> float:
    """Run one script with its pictures in a folder; seconds come back. A script without its picture is an error."""
    import matplotlib.pyplot as plt

    begun, before = time.perf_counter(), Path.cwd()
    os.chdir(out)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runpy.run_path(str(script), run_name="__main__")
    finally:
        os.chdir(before)
        plt.close("all")
    if not (out / f"{script.stem}.png").is_file():
        raise SystemExit(f"{script.name}: wrote no {script.stem}.png")
    return time.perf_counter() - begun


def notebook(script: Path, out: Path) -> None:
    """The script as a notebook: its docstring becomes the first cell."""
    import jupytext
    import nbformat

    text = script.read_text(encoding="utf-8")
    title, _, rest = text.removeprefix('"""').partition('"""')
    head, _, words = title.partition("\n")
    made = jupytext.reads(rest.lstrip(), fmt="py:percent")
    made.cells.insert(0, nbformat.v4.new_markdown_cell(f"# {head}\n{words}".rstrip()))
    made.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(made, out / f"{script.stem}.ipynb")


def main() -> None:
    """Run the scripts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="scripts, without .py; none: all")
    parser.add_argument("--rows", type=int, help="of each table; none: as the scripts say")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gallery")
    options = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "Agg")
    if options.rows:
        os.environ["PLAIT_EXAMPLE_ROWS"] = str(options.rows)
    options.out.mkdir(parents=True, exist_ok=True)
    for script in sorted(SCRIPTS.glob("plot_*.py")):
        if not options.names or script.stem in options.names:
            seconds = run(script, options.out.absolute())
            notebook(script, options.out)
            print(f"{script.stem}: {seconds:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
