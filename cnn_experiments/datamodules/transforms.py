"""Random changes of training images: crops, mirror images, distortions, colours, lighting."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    import albumentations

Bytes = NDArray[np.uint8]
Share = Annotated[float, Ge(0), Le(1)]
ShareBelow1 = Annotated[float, Ge(0), Lt(1)]
NotNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
ShareAbove0 = Annotated[float, Gt(0), Le(1)]


def _drawing_device(images: Tensor, generator: torch.Generator | None) -> torch.device:
    """Where random numbers for some images are drawn: a generator draws on its own device only."""
    return images.device if generator is None else generator.device


# --- Whole batches of small images, on the device that trains ---------------------------------------------------------


@dataclass(frozen=True)
class CropAndFlip:
    """Shift each image at random by cropping it from a larger, padded one, and mirror some of them.

    Source: Lee and others 2015, "Deeply-Supervised Nets" (https://arxiv.org/abs/1409.5185), for CIFAR-10: 4 pixels of
    padding on each side.

    Args:
        padding: pixels of black on each side, and so the largest shift.
        flip: probability of a mirror image.
    """

    padding: Annotated[int, Ge(0)] = 0
    flip: Share = 0.0

    def __bool__(self) -> bool:
        return bool(self.padding or self.flip)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Changed copies of images (N, C, H, W), bytes or floats; black is 0."""
        if not self:
            return images
        number, channels, height, width = images.shape
        where = _drawing_device(images, generator)
        offsets = torch.randint(2 * self.padding + 1, (2, number, 1), generator=generator, device=where)
        flipped = torch.rand(number, 1, generator=generator, device=where) < self.flip
        offsets, flipped = offsets.to(images.device), flipped.to(images.device)

        rows = offsets[0] + torch.arange(height, device=images.device)  # (N, H) of the padded image
        columns = torch.arange(width, device=images.device).expand(number, width)
        columns = offsets[1] + torch.where(flipped, columns.flip(1), columns)
        padded = functional.pad(images, (self.padding,) * 4)
        image = torch.arange(number, device=images.device).view(-1, 1, 1, 1)
        channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
        return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


@dataclass(frozen=True)
class Distortion:
    """Translate, scale, rotate and shear each image by amounts drawn uniformly between ± the given bounds.

    Source: LeCun and others 1998, section III.A: "combinations of ... horizontal and vertical translations, scaling,
    squeezing, and horizontal shearing". The paper gives no amounts, and does not rotate.

    Args:
        shift: pixels, horizontally and vertically.
        scale: share of the size; width and height are scaled independently.
        rotation: degrees.
        shear: horizontal pixels for each vertical pixel.
    """

    shift: NotNegative = 0.0
    scale: ShareBelow1 = 0.0
    rotation: NotNegative = 0.0
    shear: NotNegative = 0.0

    def __bool__(self) -> bool:
        return bool(self.shift or self.scale or self.rotation or self.shear)

    def __call__(self, images: Tensor, background: float, generator: torch.Generator | None = None) -> Tensor:
        """Distort images, on the device that they are on.

        Args:
            images: floats (N, C, H, W).
            background: value of what lies outside an image.
            generator: what to draw from; None for torch's global random state.

        Returns:
            Distorted copies (N, C, H, W).
        """
        number, _, height, width = images.shape
        where = _drawing_device(images, generator)

        def draw(bound: float) -> Tensor:
            return torch.empty(number, device=where).uniform_(-bound, bound, generator=generator).to(images.device)

        angle = draw(math.radians(self.rotation))
        cosine, sine = angle.cos(), angle.sin()
        scale_x, scale_y, shear = 1 + draw(self.scale), 1 + draw(self.scale), draw(self.shear)
        # affine_grid expects, for each place in the result, where it comes from, in coordinates from -1 to 1.
        from_x = torch.stack([cosine * scale_x, (shear * cosine - sine) * scale_y, draw(2 * self.shift / width)], 1)
        from_y = torch.stack([sine * scale_x, (shear * sine + cosine) * scale_y, draw(2 * self.shift / height)], 1)
        grid = functional.affine_grid(torch.stack([from_x, from_y], 1), list(images.shape), align_corners=False)
        return functional.grid_sample(images - background, grid, align_corners=False) + background


# --- Photographs, one at a time, in the processes that load them ------------------------------------------------------


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training photograph, drawn anew each time it is used.

    Args:
        crop_area: share of the photograph's area that is cropped and scaled to the network's input, drawn uniformly
            between two bounds (Szegedy and others 2014, section 6: 0.08 to 1); None to crop a window of the input's
            own size (Krizhevsky and others 2012, section 4.1).
        crop_ratio: width / height of that crop, between two bounds (3/4 and 4/3 in the paper).
        flip: probability of a mirror image; or ``alternating``: each image is a mirror image in every other epoch, and
            whether in the first is drawn once, so that two epochs show both (Jordan 2024, "94% on CIFAR-10 in 3.29
            seconds on a single GPU", https://arxiv.org/abs/2404.00498). `CachedImages` does this.
        shift: translation up to ± this share of the size, horizontally and vertically.
        scale: enlargement or reduction up to ± this share.
        rotation: up to ± this many degrees.
        colour_jitter: change of brightness, contrast and saturation up to ± this share.
        trivial_augment: one more change of each image, after all others but the lighting: drawn evenly from 14 (none,
            shear, translation, rotation, brightness, contrast, equalisation, posterisation …), at a strength that is
            drawn evenly, too (Müller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data
            Augmentation", https://arxiv.org/abs/2103.10158, the wide space).
        lighting: standard deviation of the shares of the colours' principal components that are added (Krizhevsky and
            others 2012, section 4.1: 0.1); see `light`, which applies it to whole batches.
    """

    crop_area: tuple[ShareAbove0, ShareAbove0] | None = None
    crop_ratio: tuple[Positive, Positive] = (0.75, 1.3333333)
    flip: Share | Literal["alternating"] = 0.5
    shift: ShareBelow1 = 0.0
    scale: ShareBelow1 = 0.0
    rotation: NotNegative = 0.0
    colour_jitter: ShareBelow1 = 0.0
    trivial_augment: bool = False
    lighting: NotNegative = 0.1

    def pipeline(self, size: int) -> "albumentations.Compose":
        """The steps that albumentations takes, for one image of bytes (H, W, 3); its result is (size, size, 3)."""
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for a new version at every import

        import albumentations
        import cv2

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
                albumentations.RandomResizedCrop(  # the mean of areas would enlarge a small crop in blocks
                    (size, size), self.crop_area, self.crop_ratio, cv2.INTER_LINEAR, area_for_downscale="image"
                )
            )
        if self.flip and self.flip != "alternating":
            steps.append(albumentations.HorizontalFlip(p=self.flip))
        if self.colour_jitter:
            amount = self.colour_jitter
            steps.append(albumentations.ColorJitter(amount, amount, amount, hue=0, p=1))
        return albumentations.Compose(steps)


class Augment:
    """Applies an augmentation to batches; the same seed changes a batch in the same way in any process.

    Args:
        augmentation: what may happen to an image.
        size: side of the results, in pixels.
    """

    def __init__(self, augmentation: Augmentation, size: int) -> None:
        self.pipeline = augmentation.pipeline(size)
        self.trivial_augment: Callable[[Tensor], Tensor] | None = None
        if augmentation.trivial_augment:
            from torchvision.transforms.v2 import InterpolationMode, TrivialAugmentWide

            self.trivial_augment = TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)

    def __call__(self, images: Bytes, seed: tuple[int, ...]) -> Bytes:
        """Changed images (N, size, size, 3), bytes, of images (N, H, W, 3)."""
        of_pipeline, of_trivial_augment = np.random.SeedSequence(seed).generate_state(2).tolist()
        self.pipeline.set_random_seed(of_pipeline)
        images = np.stack([self.pipeline(image=image)["image"] for image in images])
        if self.trivial_augment is None:
            return images
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the CPU's global random state
            torch.default_generator.manual_seed(of_trivial_augment)
            changed = [self.trivial_augment(image) for image in torch.from_numpy(images).permute(0, 3, 1, 2)]
        return torch.stack(changed).permute(0, 2, 3, 1).numpy()


# --- Lighting ---------------------------------------------------------------------------------------------------------


def principal_components(moments: NDArray[np.float64]) -> Tensor:
    """Eigenvectors of the covariance of colours, each times its eigenvalue.

    Args:
        moments: means over pixels with values from 0 to 1: of red, green, blue, then of rr, rg, rb, gg, gb, bb.

    Returns:
        Floats (3 colours, 3 components).
    """
    mean, products = moments[:3], np.zeros((3, 3))
    products[np.triu_indices(3)] = moments[3:]
    products = products + np.triu(products, 1).T
    values, vectors = np.linalg.eigh(products - np.outer(mean, mean))
    return torch.from_numpy(vectors * values.clip(0)).float()


def light(images: Tensor, components: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Change the lighting of each image, in place, on the device that it is on.

    [p1 p2 p3] [α1 λ1, α2 λ2, α3 λ3]ᵀ is added to each pixel: p and λ are eigenvectors and eigenvalues of the covariance
    of colours, and the α are drawn once for each image from a normal distribution with mean 0. Photographs vary in the
    intensity and colour of their light, but what they show stays the same. Source: Krizhevsky and others 2012, section
    4.1.

    Args:
        images: floats from 0 to 1, (N, 3, H, W).
        components: see `principal_components`.
        std: standard deviation of the α.
        generator: what to draw from; None for torch's global random state.

    Returns:
        The same images.
    """
    where = _drawing_device(images, generator)
    alphas = (torch.randn(len(images), 3, device=where, generator=generator) * std).to(images.device)
    return images.add_((alphas @ components.to(images.device, non_blocking=True).T)[:, :, None, None])
