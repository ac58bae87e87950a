"""Random changes of training photographs: where they are cut out, mirrored, moved, scaled and lit."""

import os
from dataclasses import dataclass
from typing import Annotated

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the package index for news at every import

import albumentations
import cv2
import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

Share = Annotated[float, Ge(0), Le(1)]
NotNegative = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training photograph; each happens to each photograph anew whenever it is used.

    Args:
        crop_area: share of the photograph that is cut out and scaled to the network's input, drawn evenly between two
            bounds (Szegedy and others 2014, section 6: 0.08 to 1); None to cut out a window of the input's own size
            (Krizhevsky and others 2012, section 4.1).
        crop_ratio: width / height of what is cut out, with `crop_area`: between two bounds (3/4 and 4/3 there).
        flip: probability of a mirror image.
        shift: share of the size by which it is moved to each side, up to ±.
        scale: share by which it is enlarged or shrunk, up to ±.
        rotation: degrees by which it is turned, up to ±.
        colour_jitter: share by which brightness, contrast and saturation change, up to ±.
        lighting: standard deviation of the shares of the colours' principal components that are added (Krizhevsky and
            others 2012, section 4.1: 0.1); drawn on the device.
    """

    crop_area: tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]] | None
    crop_ratio: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]]
    flip: Share
    shift: Annotated[float, Ge(0), Lt(1)]
    scale: Annotated[float, Ge(0), Lt(1)]
    rotation: NotNegative
    colour_jitter: Annotated[float, Ge(0), Lt(1)]
    lighting: NotNegative

    def pipeline(self, size: int) -> albumentations.Compose:
        """All but the lighting, for one image of bytes (H, W, 3); gives (size, size, 3)."""
        steps: list[albumentations.BasicTransform] = []
        if self.shift or self.scale or self.rotation:
            steps.append(
                albumentations.Affine(
                    scale=(1 - self.scale, 1 + self.scale),
                    translate_percent=(-self.shift, self.shift),
                    rotate=(-self.rotation, self.rotation),
                    border_mode=cv2.BORDER_REFLECT_101,
                    p=1,
                )
            )
        if self.crop_area is None:
            steps.append(albumentations.RandomCrop(size, size))
        else:
            steps.append(
                albumentations.RandomResizedCrop(
                    (size, size), self.crop_area, self.crop_ratio, interpolation=cv2.INTER_AREA
                )
            )
        if self.flip:
            steps.append(albumentations.HorizontalFlip(p=self.flip))
        if self.colour_jitter:
            amount = self.colour_jitter
            steps.append(albumentations.ColorJitter(amount, amount, amount, hue=0, p=1))
        return albumentations.Compose(steps)


class Augment:
    """Applies an augmentation to batches; the same seed gives the same batch, in whatever process."""

    def __init__(self, augmentation: Augmentation, size: int) -> None:
        self.pipeline = augmentation.pipeline(size)
        cv2.setNumThreads(1)

    def __call__(self, images: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
        """Changed images (N, size, size, 3), bytes, of images (N, H, W, 3)."""
        self.pipeline.set_random_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        return np.stack([self.pipeline(image=image)["image"] for image in images])


def principal_components(moments: np.ndarray) -> Tensor:
    """Eigenvectors of the covariance of colours, each times its eigenvalue: shape (3 colours, 3 components).

    Args:
        moments: means over pixels with values from 0 to 1: of red, green, blue, then of rr, rg, rb, gg, gb, bb.
    """
    mean, products = moments[:3], np.zeros((3, 3))
    products[np.triu_indices(3)] = moments[3:]
    products = products + np.triu(products, 1).T
    values, vectors = np.linalg.eigh(products - np.outer(mean, mean))
    return torch.from_numpy(vectors * values.clip(0)).float()


def light(images: Tensor, components: Tensor, deviation: float) -> Tensor:
    """Change the light of each image, (N, 3, H, W) with values from 0 to 1, in place.

    To each pixel [p1 p2 p3] [α1 λ1, α2 λ2, α3 λ3]ᵀ is added: p and λ are eigenvectors and eigenvalues of the covariance
    of colours, the α are drawn once for each image. Source: Krizhevsky and others 2012, section 4.1.
    """
    alphas = torch.randn(len(images), 3, device=images.device) * deviation
    return images.add_((alphas @ components.to(images.device).T)[:, :, None, None])
