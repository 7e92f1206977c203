"""The sections of reports, one file each."""
