"""The networks, one file each, in plain PyTorch.

Every network answers to the same few calls:

- ``network(images)``: scores, shape (N, classes); the higher a score, the likelier the class;
- ``network.loss(scores, labels)``: the loss to train with, one number;
- ``network.named_children()``: its layers by the names of the literature, in the order of the paper's table.
"""

from torch import Tensor, nn
from torch.nn import functional


class Network(nn.Module):
    """A network that tells images apart."""

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch: scores (N, classes), labels (N,) of class numbers."""
        return functional.cross_entropy(scores, labels)
