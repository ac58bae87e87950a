"""The data sets, one file each.

Every data set is an `ImageData`: usable in any training loop, it knows nothing of Lightning or Hydra. Small ones, whose
images fit into memory, build on `InMemoryImages`.
"""
