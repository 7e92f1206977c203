"""Data sets, one file each."""

#: Modules that are no variants.
SHARED = ("base", "hearthstone_tables")
