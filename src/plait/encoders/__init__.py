"""Encoders, one file each; what they share has a leading underscore or stands in ``SHARED``."""

#: Modules that are no variants.
SHARED = ("batches", "defaults", "embed", "featurize", "hub_files", "scale")
