"""What TensorBoard shows of a network: pictures, histograms and shares. Needs torch, but not Lightning."""
