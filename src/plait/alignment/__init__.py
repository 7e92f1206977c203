"""Alignment: stages that pull modalities towards each other, one file each; before a fit, or as a space of its own."""

#: Modules that are no variants.
SHARED = (
    *("aligned", "aligner", "base", "batches", "enhancement", "file"),
    *("index", "learned", "losses", "network", "pairs"),
)
