"""Names of classes as texts."""

from __future__ import annotations

from collections.abc import Sequence

from plait.base.errors import ConfigError

#: Each class is the mean over these (Radford et al. 2021, section 3.1.4, use 80; these are their plainest).
TEMPLATES = ("{}", "a photo of a {}.")
#: Temperature of the probabilities where a stage has learned none.
HEAT = 0.07


def prompts(names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """One list of texts per name.

    Raises:
        ConfigError: fewer than two names, one given twice, or a template without a place for the name.

    Example:
        >>> prompts(["cat", "dog"], ["a {}."])
        [['a cat.'], ['a dog.']]
    """
    listed = [names] if isinstance(names, str) else [str(name) for name in names]
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if len(listed) < 2 or twice:
        raise ConfigError(f"names: expected two or more different ones, found {', '.join(twice or listed) or 'none'}")
    if isinstance(templates, str) or not templates:
        raise ConfigError("templates: expected a list of texts, as in ['a photo of a {}']")
    for template in templates:
        if "{}" not in template:
            raise ConfigError(f"template '{template}': it has no {{}} where the name goes")
    return [[template.replace("{}", name) for template in templates] for name in listed]
