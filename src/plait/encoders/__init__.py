"""Encoders, one file each; what they share stands in ``SHARED``."""

#: Modules that are no variants.
SHARED = (
    *("batches", "defaults", "embed", "featurize", "from_scratch", "hub_cut", "hub_files"),
    *("hub_kinds", "hub_models", "minilm_network", "ngrams", "packages", "pairs", "pixel_arrays"),
    *("resnet_network", "scale", "scratch_series", "shape", "sound_frames", "syntax", "tabular_numbers"),
    *("tabular_words", "word_counts", "word_ridge"),
)
