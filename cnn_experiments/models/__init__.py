"""The networks, one file each, in plain PyTorch.

Every network answers to the same few calls:

- ``network(images)``: scores, shape (N, classes); the higher a score, the likelier the class. While training, a network
  with auxiliary heads gives a tuple: its own scores, then theirs;
- ``network.loss(output, labels)``: the loss to train with, one number;
- ``network.named_children()``: its layers by the names of the literature, in the order of the paper's table.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class Network(nn.Module):
    """A network that tells images apart."""

    def loss(self, output: Any, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch: scores (N, classes), labels (N,) of class numbers."""
        return functional.cross_entropy(output, labels)
