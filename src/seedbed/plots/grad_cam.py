"""Grad-CAM: where in an image a convolutional model finds the evidence for a class."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn import functional as F

MIN_SIDE = 4  # pixels; a 2 x 2 map, spread over the whole image, says no more than which quarter


def grad_cam(model: nn.Module, layer: nn.Module, x: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Positive evidence for a class of each image, at every pixel.

    Each channel of the layer's map counts with the spatial mean of d logit / d map; what is left above 0 of their sum
    is enlarged bilinearly and divided by its maximum. The model stays as it was: its mode, its hooks, the gradients
    of its parameters. Not for use inside `torch.inference_mode`.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017.

    Args:
        model: `[B, C, H, W]` -> logits `[B, K]`; its parameters may be frozen.
        layer: a module of it that gives a map `[B, D, h, w]`; of one that runs more than once, the last map counts.
        x: float `[B, C, H, W]`, preprocessed, on the model's device.
        classes: int64 `[B]`, whose evidence is asked for.

    Returns:
        float32 `[B, H, W]` on the CPU, in [0, 1]; all of an image is 0 where nothing speaks for the class.
    """
    maps: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            # A new leaf has a gradient in a frozen model too, and the way back ends here.
            maps[:] = [output.detach().requires_grad_()]
            return maps[0].clone()  # since the next module may work in place
        return output

    with _evaluating(model), layer.register_forward_hook(keep), torch.enable_grad():
        logits = model(x)
        if not maps:
            raise ValueError(f"grad_cam: {type(layer).__name__} gave no map [B, D, h, w] in the model's forward pass")
        if classes.shape != logits.shape[:1] or not 0 <= int(classes.min()) <= int(classes.max()) < logits.shape[1]:
            expected = f"{len(logits)} classes below {logits.shape[1]}"
            raise ValueError(f"grad_cam: expected {expected}, got {classes.tolist()}")
        # In eval mode an image's logits depend on that image alone: the gradient of the sum is that of each.
        logit = logits.gather(1, classes.to(logits.device)[:, None]).sum()
        # Not backward(): that would add to the gradients of the parameters.
        (gradient,) = torch.autograd.grad(logit, maps)
    heat = (gradient.float().mean((2, 3), keepdim=True) * maps[0].detach().float()).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, x.shape[-2:], mode="bilinear")[:, 0]
    # The maximum of the enlarged map: its pixels need not hit the peak of the small one.
    peak = heat.amax((1, 2), keepdim=True)
    return torch.where(peak > 0, heat / peak, 0).cpu()


def evidence_layer(model: nn.Module, x: torch.Tensor) -> tuple[str, nn.Module, tuple[int, int]] | None:
    """The deepest stage before the head whose map has at least `MIN_SIDE` pixels a side, or else more than one.

    Args:
        model: its `stages()` name its modules from the input to the head; a stage's map is what its last module gives.
        x: float `[B, C, H, W]`, preprocessed, on the model's device; the first image is passed through.

    Returns:
        name of the stage, its last module, height and width of its map; None where no stage has such a map.
    """
    stages = model.stages() if hasattr(model, "stages") else {}
    last = {name: modules[-1] for name, modules in stages.items() if name != "head" and modules}
    sizes: dict[nn.Module, tuple[int, int]] = {}

    def note(module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            sizes[module] = (output.shape[2], output.shape[3])

    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(_evaluating(model))
        for layer in last.values():
            stack.enter_context(layer.register_forward_hook(note))
        model(x[:1])
    for least in (MIN_SIDE, 2):
        for name, layer in reversed(last.items()):
            if min(sizes.get(layer, (0, 0))) >= least:
                return name, layer, sizes[layer]
    return None


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, and afterwards each module's own: a frozen part may have been in another than the rest."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
