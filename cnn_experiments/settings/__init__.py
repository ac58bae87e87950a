"""Typed settings: from a config in plain containers to objects that define a run. Needs no torch."""
