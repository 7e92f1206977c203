"""Contrastive stages, one file each: they pull modalities towards each other over frozen features."""
