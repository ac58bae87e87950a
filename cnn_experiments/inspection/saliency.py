"""Where a network looks: Grad-CAM, and pictures that show it.

Source: Selvaraju and others 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
section 3. https://arxiv.org/abs/1610.02391
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.errors import UserError
from cnn_experiments.inspection.layer_outputs import evaluation_mode, layer_outputs
from cnn_experiments.runs.formats import korean_fonts
from cnn_experiments.settings.suggestions import suggest

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SIDE = 280  # pixels of each of the two pictures; smaller images are enlarged
CAPTION_HEIGHT = 26  # pixels


def choose_layer(network: nn.Module, name: str | None, input_shape: tuple[int, int, int]) -> nn.Module:
    """The layer or branch of that name; for None, the last layer with weights that outputs maps larger than 1×1.

    That is conv5 of AlexNet, inception5b of GoogLeNet, and s4 of LeNet-5.

    Args:
        network: any network.
        name: as TensorBoard has it, ``conv3``, ``inception3a`` or ``inception3a/branch5x5``.
        input_shape: channels, height and width of its images.

    Raises:
        UserError: there is no such layer, or it has no maps.
    """
    parameter = next(network.parameters())
    image = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
    usable = {
        layer_name: layer
        for layer_name, layer, output in layer_outputs(network, image)
        if output.dim() == 4 and output.shape[-1] > 1
    }
    if name is None:
        weighted = [usable[found] for found in usable if "/" not in found and list(usable[found].parameters())]
        if not weighted:
            raise UserError("saliency: this network has no layer with weights that outputs maps. Use saliency=false")
        return weighted[-1]
    if name not in usable:
        raise UserError(f"saliency_layer={name}: there is no such layer with maps. {suggest(name, usable)}")
    return usable[name]


def grad_cam(network: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """How much each place of an image speaks for a class: (N, H, W), from 0 to 1, the highest of each image.

    The layer's maps are summed up, each weighted by the mean gradient of the class's score with respect to it; values
    below 0, which speak against the class, become 0; and the result is enlarged to the image. It is 0 everywhere if
    nothing in these maps speaks for the class.

    Args:
        network: any network; it is run in evaluation mode.
        layer: one of its layers or branches that outputs maps.
        images: network input (N, C, H, W).
        classes: the class to explain of each image, (N,).
    """
    outputs: list[Tensor] = []

    def start_gradient_here(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        outputs.append(output.detach().clone().requires_grad_())  # nothing before this layer needs a gradient
        return outputs[0]

    hook = layer.register_forward_hook(start_gradient_here)
    try:
        with evaluation_mode(network), torch.enable_grad():
            scores = network.forward(images).gather(1, classes[:, None]).sum()
            (gradients,) = torch.autograd.grad(scores, outputs[0])
    finally:
        hook.remove()
    with torch.no_grad():
        weights = gradients.mean((2, 3), keepdim=True)
        heat = (weights * outputs[0]).sum(1, keepdim=True).relu().float()
        heat = functional.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        return heat / heat.amax((1, 2), keepdim=True).clamp_min(torch.finfo(heat.dtype).tiny)


def picture_of_saliency(image: Tensor, heat: Tensor, caption: str) -> "Image":
    """What the network saw, beside the same with the heat over it, under a caption.

    Args:
        image: network input (C, H, W).
        heat: from `grad_cam`, (H, W).
        caption: a line of text.
    """
    import numpy as np
    from matplotlib import colormaps, font_manager
    from PIL import Image, ImageDraw, ImageFont

    low, high = image.amin(), image.amax()
    seen = ((image - low) / (high - low).clamp_min(1e-12)).expand(3, -1, -1).permute(1, 2, 0).cpu().float().numpy()
    share = heat.cpu().numpy()[..., None]
    colours = colormaps["jet"](share[..., 0])[..., :3]
    overlaid = seen * (1 - 0.6 * share) + colours * 0.6 * share  # where nothing speaks for the class, the image alone
    side = max(SMALLEST_SIDE, seen.shape[0])
    picture = Image.new("RGB", (2 * side, side + CAPTION_HEIGHT), "white")
    for column, pixels in enumerate((seen, overlaid)):
        part = Image.fromarray((pixels * 255).round().astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        picture.paste(part, (column * side, CAPTION_HEIGHT))
    fonts = [] if caption.isascii() else korean_fonts()
    font = ImageFont.truetype(font_manager.findfont(fonts[0]), 15) if fonts else ImageFont.load_default(15)
    ImageDraw.Draw(picture).text((6, 4), caption, fill="black", font=font)
    return picture
