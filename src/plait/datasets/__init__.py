"""Data sets, one file each."""

#: Modules that are no variants.
SHARED = ("base", "cifar_records", "computational_sequences", "fetch", "hearthstone_tables", "opinions")
