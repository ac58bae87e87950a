"""Labels that are shared among classes: images that are mixed with others, and smoothed labels."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from cnn_experiments.settings.schema import TrainerSettings


class SoftLabels:
    """Mixes the images of a training batch with each other, and turns labels into probabilities of classes.

    Where both mixup and CutMix are wanted, each batch has one of them. Torch's global random state decides all of it.

    Args:
        num_classes: number of classes.
        mixup: α of the distribution Beta(α, α) that a share is drawn from; images and labels are blended in this share
            with those of another order of the batch (Zhang and others 2018, "mixup: Beyond Empirical Risk
            Minimization"). None for no mixup.
        cutmix: α likewise; a rectangle of this share of the area is replaced with that of another image (Yun and others
            2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features").
        smoothing: the share of each label that is divided evenly among all classes (Szegedy and others 2016,
            "Rethinking the Inception Architecture for Computer Vision", section 7).
    """

    def __init__(
        self, num_classes: int, mixup: float | None = None, cutmix: float | None = None, smoothing: float = 0.0
    ) -> None:
        self.num_classes, self.smoothing = num_classes, smoothing
        self.ways: list[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = []
        if mixup or cutmix:
            from torchvision.transforms import v2

            self.ways += [v2.MixUp(alpha=mixup, num_classes=num_classes)] if mixup else []
            self.ways += [v2.CutMix(alpha=cutmix, num_classes=num_classes)] if cutmix else []

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The images to train on, and what their labels become.

        Args:
            images: (N, C, H, W).
            labels: class numbers (N,).

        Returns:
            Images (N, C, H, W), and the probability of each class (N, num_classes).
        """
        if self.ways:
            way = int(torch.randint(len(self.ways), ())) if len(self.ways) > 1 else 0
            images, labels = self.ways[way](images, labels)
        else:
            labels = functional.one_hot(labels, self.num_classes)
        return images, labels.to(images.dtype) * (1 - self.smoothing) + self.smoothing / self.num_classes


def soft_labels_of(settings: TrainerSettings, num_classes: int) -> SoftLabels | None:
    """What a run's settings want of this; None if they want nothing of it."""
    if not (settings.mixup or settings.cutmix or settings.label_smoothing):
        return None
    return SoftLabels(num_classes, settings.mixup, settings.cutmix, settings.label_smoothing)
