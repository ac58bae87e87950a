"""What is written to TensorBoard so that one can see what a network does."""
