"""What every network of the project has in common."""

from typing import Any, Literal, get_args, get_origin, get_type_hints

from torch import Tensor, nn
from torch.nn import functional


class Network(nn.Module):
    """An image classifier.

    A subclass builds its layers in ``__init__``, in the order of the paper's table and under the names of the
    literature; layer tables, TensorBoard and checkpoints use these names. ``forward`` maps images (N, C, H, W) to
    scores (N, classes), the highest of which is the predicted class. In training mode it may return a tuple that
    begins with these scores, as GoogLeNet does, whose auxiliary heads add their own.
    """

    def loss(self, output: Any, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch; a network whose paper trains with another loss overrides it.

        Args:
            output: what ``forward`` returned, here scores (N, classes).
            labels: class numbers (N,), or the probability of each class (N, classes).

        Returns:
            A scalar, to be minimised.
        """
        return functional.cross_entropy(output, labels)

    def check_choices(self, **chosen: Any) -> None:
        """Refuse arguments of the constructor that are not among the values its annotations allow.

        Args:
            chosen: arguments by name; those annotated ``Literal[...]`` are checked.

        Raises:
            ValueError: there is no such choice.
        """
        for key, annotation in get_type_hints(type(self).__init__).items():
            if get_origin(annotation) is Literal and key in chosen and chosen[key] not in get_args(annotation):
                choices = " or ".join(map(str, get_args(annotation)))
                raise ValueError(f"{key}={chosen[key]}: there is no such choice. Use {choices}")


def loss_of(network: nn.Module, output: Tensor, labels: Tensor) -> Tensor:
    """The loss that a network is trained with: its own method ``loss``, or cross-entropy if it has none."""
    own = getattr(network, "loss", None)
    loss: Tensor = own(output, labels) if callable(own) else functional.cross_entropy(output, labels)
    return loss
