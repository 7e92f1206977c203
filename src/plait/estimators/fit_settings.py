"""``FitSettings``: all that can be set of a fit, by the same names in Python, YAML and on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from plait.base.checks import Count, Natural, NonNegative, Part, Positive, Seed, Share, Width, Within
from plait.data.dropped import Columns
from plait.data.modality import Schema
from plait.store import Store

#: Value of ``store`` that keeps nothing.
NO_STORE = "none"


@dataclasses.dataclass(eq=False, repr=False, kw_only=True)
class FitSettings:
    """The fields of an estimator. What a fit hands down is a copy that does not change; an estimator is one that may.

    Attributes:
        protocol: a paper's model and training as one name (``plait reproduce --list``): it sets the fields that its
            ``protocol.yaml`` lists; whatever is given beside it wins. None: plait's own.
        modalities: name -> ``{kind, columns, encoder, train, root}``, or a ``Schema``; None infers them from the table.
        drop: columns that are no inputs, one or a list: an identifier, one that gives the target away; such a column may still
            group or split the rows.
        encoders: modality or kind -> encoder name, or ``{name: ..., option: ...}``, or a folder that ``plait pretrain`` or
            ``plait align`` wrote; overrides ``modalities``.
        train: modality or kind -> ``frozen``, ``pretrain`` (alone on the same task first, on each member's own rows), or
            ``scratch``, or ``tuned`` (the last layers of a pretrained one adapted to the task by LoRA, then frozen); overrides
            ``modalities``.
        pretrain: how encoders are trained alone: ``{epochs, batch_size, learning_rate, weight_decay, patience, frozen}`` for all,
            and modality -> the same for one; ``frozen: true``: it learns no more once it joins.
        tune: how encoders are tuned: ``{layers, rank, epochs, learning_rate, folds, ...}`` for all, and modality -> the same for
            one.
        root: folder or zip archive that relative media paths start from.
        remote: files that cells name by an address (``https://``, ``s3://``, ``gs://``, ``az://``, ``hf://``) and that may be
            fetched: ``all``, or how their addresses begin, one or a list; None: nothing is. Never part of a saved model.
        task: ``classification``, ``multilabel`` or ``regression``; None takes what the target asks for.
        align: modality -> anchors (``{"tabular": ["text", "image"]}``): it is pulled towards them by a contrast with the hardest
            negatives before anything else learns; or -> ``{anchors, keep, joint, drop, negatives, ...}``.
        network: ``fusion``, or ``conv_lstm`` (picture and sound joined before a feature is made of either), by name or as
            ``{name: ..., option: ...}``; ``plait list networks``.
        fusion: operator that joins the modalities (``plait list fusion``), or ``{name: ..., absence: ..., option: ...}``;
            ``auto`` (``{name: auto, minutes: 5}``) races designs on the training rows and takes what ``plait advise`` would.
        depth: ``early``, ``middle``, ``late``, ``decision``, or how many of ``layers`` run before the modalities are joined.
        layers: blocks of linear, batch normalisation, ReLU, dropout.
        width: units of a block; None takes the widest of a few that keeps all members under ``max_weights``; ``match`` comes
            within 5 % of it, so that designs are compared at equal numbers of weights.
        quality: ``light``, ``balanced`` or ``best``: how much is spent on members, branches and encoders (``docs/quality.md``);
            fields that are given win.
        branches: what predicts side by side and is mixed by held-out predictions (``plait list branches``): names, or
            ``{name: ..., option: ...}``.
        members: networks trained by cross-fitting and averaged; None: five, on large tables two.
        validation: what chooses the best epoch: ``folds`` (members are cross-fitted), ``given`` (the rows that ``fit`` takes as
            ``valid``; every member learns from exactly the training rows), or ``none`` (all epochs, the last is kept).
        mix: ``learned``: held-out rows weigh and calibrate the branches; ``equal``: they count alike, and raw outputs stay.
        scale: frozen features are centred, scaled and held within 10 standard deviations; false: they enter as they are.
        components: frozen features beyond this many are reduced to their directions of most variance.
        pairs: ``auto``: two modalities of one encoder (a question and an answer) are also compared, where a linear fit gains by
            it on training rows that were left out; ``none``: they never are.
        ngrams: ``auto``: the words of a text, and how it looks, stand beside the features of its frozen encoder, where a linear
            fit gains by them on training rows that were left out; ``none``: they never do.
        dropout: of each block; None: by the number of rows.
        input_dropout: of single features as they enter, which holds a small table back from learning them by heart; None: by
            the number of rows.
        modality_dropout: chance that a modality is hidden from a training row in a step; one for all, modality -> chance, or
            ``{"patterns": {"text": 0.2, "text+image": 0.3}}``: shares of rows that are shown no more than that.
        threshold: for several labels: from which probability on one is answered, whatever is present; None chooses one for each
            pattern of present modalities, on held-out rows.
        metric: what is tuned and shown first: ``accuracy``, ``f1_macro``, ``auc``, ``log_loss``, ``mae``, ``rmse``, ``r2``, ...
            or ``cost``; it decides the loss of a number, and how probabilities become answers. None: the task's usual one.
        costs: for ``cost``: true class -> {answer -> what it costs}; what is not named costs 1, a right answer 0.
        target_transform: of a number: ``none``, ``log``, ``quantile``, ``yeo-johnson``, undone in every prediction; ``auto``
            takes, for a skewed target, ``log`` (below 0 ``yeo-johnson``) if a linear fit gains by it on held-out training rows.
        smoothing: label smoothing.
        epochs: at most so many; None: by the number of rows.
        batch_size: rows per step; None: by the number of rows.
        learning_rate: peak of the schedule; None: by the batch size.
        encoder_learning_rate: peak for encoders that learn, one for all, or modality -> rate; None: ``learning_rate``.
        optimiser: ``adamw``, or ``adam`` (weight decay is part of the gradients).
        schedule: after the warm-up the learning rate falls to zero as a ``cosine``, or stays ``constant``.
        clip: the norm of a network's gradients is held below it; 0: it is not.
        warmup: share of all steps over which the learning rate rises.
        thaw: epochs for which encoders that learned before (``pretrain``, a folder) stay as they are; ``{after, every}``: then a
            layer more every so many epochs, the last first; modality -> either, for any encoder that learns.
        weight_decay: of AdamW.
        patience: epochs without a better validation loss before training stops.
        max_weights: upper limit of trained weights, all members together, when ``width`` is None; the number to match, when
            it is ``match``.
        class_weight: None, ``balanced``, or class -> weight.
        partial: a modality whose columns are missing at prediction counts as absent instead of being an error.
        strict: an unreadable cell is an error instead of an absent cell.
        record_epochs: score every member after every epoch, on training, held-out and test rows, under every pattern of present
            modalities: ``epoch_metrics.json`` and ``.csv`` in the model's folder (``docs/records.md`` says what it costs).
        tensorboard: folder for event files, written while training (extra ``tensorboard``).
        track: the run is noted with ``mlflow`` or ``wandb`` (settings, losses, scores, report), by name or as ``{name: ...,
            project: ..., run: ..., folder: ...}``; with a folder nothing leaves this machine.
        checkpoint: folder in which training is kept while it runs: the same fit, killed and started again, goes on to the same
            numbers; emptied when the fit is done. None: nothing is kept.
        engine: ``local``, or ``ray``: members are trained side by side on a cluster (extra ``ray``), to the same numbers.
        workers: of the cluster; None: one per core.
        device: where networks are trained: ``auto`` (a GPU, if there is one), ``cpu``, ``cuda``.
        store: folder of the store of embeddings; None: the user's cache; ``none``: keep nothing.
        feature_memory: features of a modality beyond this size (``1GB``) lie in a file of the system's temporary folder
            (``$TMPDIR``) and are worked through in pieces.
        minutes: budget of wall time: training stops when it is used up, with what is best so far; what was left out is said,
            and stands in the record. None: none.
        progress: show progress; None: only on a terminal.
        random_state: seed of everything random.
    """

    protocol: str | None = None
    modalities: Mapping[str, Any] | Schema | None = None
    drop: Columns | None = None
    encoders: Mapping[str, Any] | None = None
    train: Mapping[str, str] | None = None
    pretrain: Mapping[str, Any] | None = None
    tune: Mapping[str, Any] | None = None
    root: str | None = None
    remote: bool | str | Sequence[str] | None = None
    task: str | None = None
    align: Mapping[str, Any] | None = None
    network: str | Mapping[str, Any] = "fusion"
    fusion: str | Mapping[str, Any] = "concat"
    depth: str | Annotated[int, Within(0, 1000)] = "early"
    layers: Annotated[int, Within(0, 1000)] = 2
    width: Width | Literal["match"] | None = None
    quality: Literal["light", "balanced", "best"] = "balanced"
    branches: Sequence[str | Mapping[str, Any]] = ("joint", "ridge", "kernel", "own", "trees")
    members: Annotated[int, Within(1, 1000)] | None = None
    validation: Literal["folds", "given", "none"] = "folds"
    mix: Literal["learned", "equal"] = "learned"
    scale: bool = True
    components: Count = 256
    pairs: Literal["auto", "none"] = "auto"
    ngrams: Literal["auto", "none"] = "auto"
    dropout: Part | None = None
    input_dropout: Part | None = None
    modality_dropout: Share | Mapping[str, Any] = 0.2
    threshold: Annotated[float, Within(0, 1, above=True, below=True)] | None = None
    metric: str | None = None
    costs: Mapping[Any, Any] | None = None
    target_transform: Literal["auto", "none", "log", "quantile", "yeo-johnson"] = "auto"
    smoothing: Part = 0.0
    epochs: Count | None = None
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    encoder_learning_rate: Positive | Mapping[str, Positive] | None = None
    optimiser: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: NonNegative = 5.0
    warmup: Share = 0.1
    thaw: Natural | Mapping[str, Any] = 0
    weight_decay: NonNegative = 0.2
    patience: Count = 10
    max_weights: Count = 1_000_000
    class_weight: Literal["balanced"] | Mapping[Any, NonNegative] | None = None
    partial: bool = False
    strict: bool = False
    record_epochs: bool = False
    tensorboard: str | None = None
    track: str | Mapping[str, Any] | None = None
    checkpoint: str | None = None
    engine: Literal["local", "ray"] = "local"
    workers: Count | None = None
    device: str = "auto"
    store: str | None = None
    feature_memory: str = "256MB"
    minutes: Positive | None = None
    progress: bool | None = None
    random_state: Seed | np.random.RandomState | None = 0

    def __setattr__(self, name: str, value: Any) -> None:
        """Settings that were handed down stay as they are."""
        if type(self) is FitSettings and name in vars(self):
            raise dataclasses.FrozenInstanceError(f"settings of a fit do not change: {name}")
        super().__setattr__(name, value)

    def settings(self) -> FitSettings:
        """A copy of the fields, without what was fitted."""
        return FitSettings(**{field.name: getattr(self, field.name) for field in dataclasses.fields(FitSettings)})

    def opened_store(self) -> Store | None:
        """The store of embeddings, to be closed by whoever asks; None where nothing is kept."""
        return None if self.store == NO_STORE else Store(self.store)
