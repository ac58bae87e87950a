"""Where a network looks: Grad-CAM, and pictures that show it.

Source: Selvaraju and others 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
section 3.
"""

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.errors import UserError
from cnn_experiments.models.layers import layers_and_branches
from cnn_experiments.suggestions import suggest

LEAST_SIDE = 280  # pixels of each of the two pictures; smaller images are enlarged
CAPTION = 26  # pixels of the line of text above them


def choose_layer(network: nn.Module, name: str | None, images: Tensor) -> nn.Module:
    """The layer or branch of that name; without one the last layer that has weights and whose maps have places.

    That is conv5 of AlexNet, inception5b of GoogLeNet, and the last before c5 of LeNet-5.

    Args:
        network: in evaluation mode.
        name: as TensorBoard has it: ``conv3``, ``inception3a`` or ``inception3a/branch5x5``.
        images: network input, (N, C, side, side).

    Raises:
        UserError: there is no such layer, or it has no maps.
    """
    modules = layers_and_branches(network)
    sides: dict[str, int] = {}

    def remember(name: str, output: Tensor) -> None:
        sides[name] = output.shape[-1] if output.dim() == 4 else 1

    hooks = [
        module.register_forward_hook(lambda _, inputs, output, name=name: remember(name, output))
        for name, module in modules.items()
    ]
    with torch.no_grad():
        network(images[:1])
    for hook in hooks:
        hook.remove()
    usable = [layer_name for layer_name, side in sides.items() if side > 1]
    if name is None:
        name = [found for found in usable if "/" not in found and any(True for _ in modules[found].parameters())][-1]
    if name not in usable:
        raise UserError(f"saliency_layer={name}: there is no such layer with maps. {suggest(name, usable)}")
    return modules[name]


def grad_cam(network: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """What speaks for a class, place by place: (N, side, side) from 0 to 1, where 1 is the most in its image.

    The layer's maps, each weighted by the mean gradient of the class's score over its places, are added up; what
    speaks against the class, below 0, becomes 0; and the result is enlarged to the image. 0 everywhere: nothing in
    these maps speaks for the class.

    Args:
        network: in evaluation mode.
        layer: one of its layers or branches that gives maps.
        images: network input, (N, C, side, side).
        classes: the class of each image to explain, (N,).
    """
    maps: list[Tensor] = []

    def begin_gradient(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        maps.append(output.detach().clone().requires_grad_())  # of what comes before, no gradient is needed or kept
        return maps[0]

    hook = layer.register_forward_hook(begin_gradient)
    try:
        with torch.enable_grad():
            scores = network(images).gather(1, classes[:, None]).sum()
            (gradients,) = torch.autograd.grad(scores, maps[0])
    finally:
        hook.remove()
    with torch.no_grad():
        weights = gradients.mean((2, 3), keepdim=True)
        heat = (weights * maps[0]).sum(1, keepdim=True).relu().float()
        heat = functional.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        return heat / heat.amax((1, 2), keepdim=True).clamp_min(torch.finfo(heat.dtype).tiny)


def picture_of_saliency(image: Tensor, heat: Tensor, caption: str) -> Image.Image:
    """What the network saw, (C, side, side), beside the same with the heat, (side, side), over it."""
    low, high = image.amin(), image.amax()
    seen = ((image - low) / (high - low).clamp_min(1e-12)).expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()
    share = heat.cpu().numpy()[..., None]
    colours = colormaps["jet"](share[..., 0])[..., :3]
    overlaid = seen * (1 - 0.6 * share) + colours * 0.6 * share  # where nothing speaks for the class, only the image
    side = max(LEAST_SIDE, seen.shape[0])
    picture = Image.new("RGB", (2 * side, side + CAPTION), "white")
    for column, pixels in enumerate((seen, overlaid)):
        part = Image.fromarray((pixels * 255).round().astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        picture.paste(part, (column * side, CAPTION))
    ImageDraw.Draw(picture).text((6, 4), caption, fill="black", font=ImageFont.load_default(15))
    return picture
