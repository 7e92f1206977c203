"""What everything stands on: errors, the registry of variants, settings checked, progress, precision, ``Tokens``."""

from __future__ import annotations

import os
import platform
from importlib import metadata

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """plait, Python, and the packages that decide the numbers."""
    import torch

    result = {"plait": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in ("torch", "numpy", "scikit-learn", "pandas", "transformers", "onnxruntime"):
        try:
            result[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {**result, "threads": str(torch.get_num_threads()), "cores": str(os.cpu_count())}
