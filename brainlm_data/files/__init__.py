"""Files on disk: sidecars, atomic writes, locks, downloads and tables of numbers."""
