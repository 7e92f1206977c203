"""A transformers model in two: its own code runs on both sides of the cut, so that masks and last norms stay the model's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from plait.base.encoder import Cut
from plait.base.tokens import Tokens
from plait.encoders.hub_models import by_length

#: Architectures (``model_type``) whose layers take one sequence and give one, the same for every layer. Each is compared with
#: its whole network in ``tests/test_encoders_hub_cut.py``.
TEXT = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet", "distilbert")
IMAGE = ("vit", "deit", "dinov2", "dinov2_with_registers")
#: Where their layers are: versions of transformers differ.
_PLACES = ("encoder.layer", "transformer.layer", "layers")

Prepared = Mapping[str, Tensor]


def layer_count(settings: Mapping[str, Any], known: tuple[str, ...]) -> int:
    """Layers of a model by its ``config.json``; 0 where it cannot be cut.

    Example:
        >>> layer_count({"model_type": "bert", "num_hidden_layers": 12}, TEXT), layer_count({"model_type": "t5"}, TEXT)
        (12, 0)
    """
    if settings.get("model_type") not in known:
        return 0
    return int(settings.get("num_hidden_layers", settings.get("n_layers", 0)))


def cut_network(
    load: Callable[[], nn.Module],
    inside: Callable[[nn.Module], nn.Module],
    layers: int,
    given: Callable[[Tokens], dict[str, Tensor]],
) -> Cut:
    """The network that ``load`` makes, in two.

    Args:
        load: the whole: prepared tensors -> ``Tokens``.
        inside: the transformers model within it.
        layers: above the cut.
        given: tokens as the whole takes them, where its embeddings are left out.
    """
    whole = load()
    lower, upper = _Lower(copy.deepcopy(whole), inside, layers), _Upper(whole, inside, layers, given)
    return Cut(lower.eval(), upper.eval(), upper.targets())


def within(whole: nn.Module) -> nn.Module:
    """The transformers model in a network that only pools it."""
    return cast(nn.Module, whole.network)


def _layers(network: nn.Module) -> tuple[nn.Module, str, nn.ModuleList]:
    """What holds the layers, under which name, and the layers."""
    for place in _PLACES:
        path, _, name = place.rpartition(".")
        holder = network if not path else getattr(network, path, None)
        result = getattr(holder, name, None)
        if isinstance(holder, nn.Module) and isinstance(result, nn.ModuleList):
            return holder, name, result
    raise LookupError(f"{type(network).__name__} has no layers where they are known to be")


class _Lower(nn.Module):
    """All but the last layers: what the last one that is left gives is caught."""

    def __init__(self, whole: nn.Module, inside: Callable[[nn.Module], nn.Module], layers: int) -> None:
        super().__init__()
        network = inside(whole)
        holder, name, result = _layers(network)
        kept = result[: len(result) - layers]
        setattr(holder, name, kept)
        self.whole = whole
        self._caught: Tensor | None = None
        last = kept[-1] if len(kept) else getattr(network, "embeddings_project", network.embeddings)
        cast(nn.Module, last).register_forward_hook(self._catch)

    def _catch(self, part: nn.Module, inputs: Any, output: Any) -> None:
        self._caught = output[0] if isinstance(output, tuple) else output

    def forward(self, batch: Prepared) -> Tokens:
        """Prepared tensors -> (B, T, D)."""
        if "attention_mask" not in batch:
            result = self._through(batch)
            return Tokens(result, torch.ones(result.shape[:2], dtype=torch.bool, device=result.device))
        there = batch["attention_mask"].bool()
        longest = there.shape[1]

        def padded(part: Prepared) -> Tensor:
            x = self._through(part)
            return nn.functional.pad(x, (0, 0, 0, longest - x.shape[1]))

        result = by_length(batch, padded)
        return Tokens(result, torch.arange(longest, device=result.device) < there.sum(1, keepdim=True))

    def _through(self, batch: Prepared) -> Tensor:
        self.whole(batch)
        result, self._caught = cast(Tensor, self._caught).float(), None
        return result


class _Upper(nn.Module):
    """The last layers, what the model has above them, and the pooling."""

    def __init__(
        self,
        whole: nn.Module,
        inside: Callable[[nn.Module], nn.Module],
        layers: int,
        given: Callable[[Tokens], dict[str, Tensor]],
    ) -> None:
        super().__init__()
        network = inside(whole)
        holder, name, result = _layers(network)
        self.kept = result[len(result) - layers :]
        setattr(holder, name, self.kept)
        network.embeddings = _Given(cast(nn.Module, network.embeddings))
        if hasattr(network, "embeddings_project"):
            network.embeddings_project = nn.Identity()
        self.whole, self.given = whole, given

    def targets(self) -> tuple[str, ...]:
        """Names of the linear maps in the layers."""
        return tuple(
            name for name, part in self.named_modules() if name.startswith("kept.") and isinstance(part, nn.Linear)
        )

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) -> one token per row."""
        result: Tokens = self.whole(self.given(tokens))
        return result


class _Given(nn.Module):
    """In place of the embeddings: what is given is what they gave."""

    def __init__(self, instead_of: nn.Module) -> None:
        super().__init__()
        if hasattr(instead_of, "patch_embeddings"):  # whose number type the model looks at
            self.patch_embeddings = instead_of.patch_embeddings

    def forward(self, *setting: Any, **named: Any) -> Tensor:
        """The sequences (B, T, D) among the arguments."""
        values = (*setting, *named.values())
        return next(value for value in values if isinstance(value, Tensor) and value.is_floating_point())


def given_words(tokens: Tokens) -> dict[str, Tensor]:
    """Sequences as a text model takes them in place of words."""
    return {"inputs_embeds": tokens.x, "attention_mask": tokens.mask.long()}
