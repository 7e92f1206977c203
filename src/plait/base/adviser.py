"""The contract of an adviser, and how the field ``fusion`` names one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from plait.base import config, registry


class Adviser(ABC):
    """Chooses settings of an estimator from the rows that it is fitted on; a dataclass whose fields are its options."""

    @abstractmethod
    def settings(self, estimator: Any, frame: pd.DataFrame, target: np.ndarray) -> dict[str, Any]:
        """What to set; the estimator's own other settings hold for every design that is looked at.

        Args:
            estimator: not yet fitted.
            frame: rows of training.
            target: (n,) classes or values, or indicators (n, C).
        """


def adviser(fusion: Any) -> Adviser | None:
    """The adviser that the field ``fusion`` names, as ``auto`` or ``{name: auto, option: ...}``; None: an operator is named.

    Raises:
        ConfigError: an option that it has not, or one that cannot be meant.
    """
    options = dict(fusion) if isinstance(fusion, Mapping) else {"name": fusion}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in registry.names("advisers"):
        return None
    chosen: Adviser = config.build(registry.find("advisers", name), options, f"fusion '{name}'")
    return chosen
