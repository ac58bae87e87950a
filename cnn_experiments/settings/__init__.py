"""Typed settings: from a config in plain containers to objects that say what a run is. Needs no torch."""
