"""Data sets, one file each, read from ``PLAIT_DATA`` or a folder that is given."""
