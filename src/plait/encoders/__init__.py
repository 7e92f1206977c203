"""Encoders, one file each: cells of one modality in, ``Tokens`` out."""
