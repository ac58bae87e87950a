"""A trained network put to use: tested, asked about images, opened as a `Run`. Needs torch, but not Lightning."""
