"""The sections of a fit's report, one file each: ``PLACE`` on the page and ``section(report)``; a new file is a new section."""
