"""Run directories: how a run is recorded, how it came to be, and how runs compare. Needs no torch."""
