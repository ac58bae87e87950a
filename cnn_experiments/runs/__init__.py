"""Run directories: the record of a run, its provenance, and the comparison of runs. Needs no torch."""
