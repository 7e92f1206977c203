"""What a model is worth: metrics with intervals, baselines, each modality's value, noise grids, spaces."""
