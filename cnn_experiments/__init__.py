"""Classic convolutional networks as config-driven experiments."""
