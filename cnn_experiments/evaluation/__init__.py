"""Uses of a trained network: testing, prediction, and a run opened as a `Run`. Needs torch, but not Lightning."""
