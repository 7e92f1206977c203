"""What ``plait list`` shows of a variant of each family beside name and summary: of its class, or of the outline of one."""

from __future__ import annotations

from typing import Any

from plait.base import config
from plait.base.outline import Outline


def of_encoder(variant: Any) -> dict[str, str]:
    """Kinds, how it is trained, the extra that it needs, licence."""
    regimes = {
        "frozen": variant.frozen,
        "scratch": variant.trainable,
        "raw": variant.raw,
        "tuned": bool(variant.tunable),
    }
    return {
        "kinds": ", ".join(variant.kinds),
        "train": ", ".join(word for word, has in regimes.items() if has),
        "extra": variant.extra or "-",
        "licence": variant.licence,
    }


def of_fusion(variant: Any) -> dict[str, str]:
    """Where it joins, whether widths are made equal, options."""
    names = [name for name in variant.keywords() if name != "level"] if _is_outline(variant) else variant.options()
    widths = "made equal" if variant.equal_widths else "any"
    return {"level": ", ".join(variant.levels), "widths": widths, "options": ", ".join(names) or "-"}


def of_branch(variant: Any) -> dict[str, str]:
    """How it is trained, options, the extra that it needs, licence."""
    names = variant.fields() if _is_outline(variant) else config.fields_of(variant)
    return {
        "trained": variant.trained,
        "options": ", ".join(names) or "-",
        "extra": variant.extra or "-",
        "licence": variant.licence,
    }


def of_condition(variant: Any) -> dict[str, str]:
    """Kinds that it changes, and what its strength is."""
    return {"kinds": ", ".join(variant.kinds), "strength": variant.measure}


def of_alignment(variant: Any) -> dict[str, str]:
    """How it is fitted, and whether encoders are trained with it."""
    return {
        "fitted": "by gradient" if variant.learned else "solved",
        "encoders": "frozen" if variant.frozen else "trained",
    }


def of_dataset(variant: Any) -> dict[str, str]:
    """Label, targets with their metrics, licence, source."""
    targets = [f"{target} ({task}, {variant.metrics[target]})" for target, task in variant.tasks.items()]
    return {
        "label": dataset_label(variant),
        "targets": ", ".join(targets) or "none (pairs)",
        "licence": dataset_licence(variant),
        "source": variant.url,
    }


def dataset_label(variant: Any) -> str:
    """The name to print beside results: a stand-in says that it is one."""
    return f"{variant.title} (rebuilt)" if variant.rebuilt else str(variant.title)


def dataset_licence(variant: Any) -> str:
    """The licence, and whether it was verified at its source."""
    return str(variant.licence) if variant.licence_from else f"{variant.licence} (not verified)"


def _is_outline(variant: Any) -> bool:
    return isinstance(variant, Outline)


#: Family -> what is told of its variants, where there is anything beside name and summary.
OF_FAMILY = {
    "encoders": of_encoder,
    "fusion": of_fusion,
    "branches": of_branch,
    "conditions": of_condition,
    "alignment": of_alignment,
    "datasets": of_dataset,
}
