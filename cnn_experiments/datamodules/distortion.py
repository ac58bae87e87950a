"""Random distortions of a batch, drawn where the batch lies (CPU or GPU)."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor
from torch.nn import functional

NotNegative = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Distortion:
    """Each image is moved, scaled, turned and sheared on its own, by amounts drawn evenly from ± the given bounds.

    Source: LeCun and others 1998, section III.A: "combinations of ... horizontal and vertical translations, scaling,
    squeezing, and horizontal shearing" (the paper gives no amounts, and does not turn them).

    Args:
        shift: pixels to each side.
        scale: share of the size, for width and height apart.
        rotation: degrees.
        shear: horizontal pixels a vertical pixel.
    """

    shift: NotNegative = 0.0
    scale: Annotated[float, Ge(0), Lt(1)] = 0.0
    rotation: NotNegative = 0.0
    shear: NotNegative = 0.0

    def __bool__(self) -> bool:
        return bool(self.shift or self.scale or self.rotation or self.shear)

    def __call__(self, images: Tensor, background: float) -> Tensor:
        """Distorted copies of images (N, C, H, W); what comes in from outside them has the background's value."""
        number, _, height, width = images.shape

        def draw(bound: float) -> Tensor:
            return torch.empty(number, device=images.device).uniform_(-bound, bound)

        angle = draw(math.radians(self.rotation))
        cosine, sine = angle.cos(), angle.sin()
        scale_x, scale_y, shear = 1 + draw(self.scale), 1 + draw(self.scale), draw(self.shear)
        # affine_grid wants, for each place of the result, where it comes from, on a scale from -1 to 1.
        from_x = torch.stack([cosine * scale_x, (shear * cosine - sine) * scale_y, draw(2 * self.shift / width)], 1)
        from_y = torch.stack([sine * scale_x, (shear * sine + cosine) * scale_y, draw(2 * self.shift / height)], 1)
        grid = functional.affine_grid(torch.stack([from_x, from_y], 1), list(images.shape), align_corners=False)
        return functional.grid_sample(images - background, grid, align_corners=False) + background
