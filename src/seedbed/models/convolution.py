"""Convolution that is fast on small maps too."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

LARGEST_MAP = 16  # output pixels; measured: at 8 x 8 the stock convolution is as good or better


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` (same arguments, weights and state-dict keys) that on a CPU takes small maps by one matrix product.

    A CPU's convolution kernels spend most of their time on overhead where the output has a few pixels: there the
    shifted views of the input are laid side by side and multiplied with the weights at once. Larger maps, GPUs,
    groups, dilation and padding other than zeros go the stock way. Results are equal up to rounding.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` -> `[B, C', H', W']`."""
        if x.device.type != "cpu" or x.ndim != 4 or not self._is_plain():
            return super().forward(x)
        (kh, kw), (sh, sw), (ph, pw) = self.kernel_size, self.stride, self.padding
        height, width = (x.shape[2] + 2 * ph - kh) // sh + 1, (x.shape[3] + 2 * pw - kw) // sw + 1
        if not 0 < height * width <= LARGEST_MAP:
            if self.kernel_size == (1, 1) and self.stride != (1, 1) and self.padding == (0, 0):
                # What a strided 1x1 kernel skips is left out first: given channels_last input of few channels, the
                # stock one (torch 2.14.1, CPU) crashes or corrupts memory.
                return F.conv2d(x[:, :, ::sh, ::sw], self.weight, self.bias)
            return super().forward(x)
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, pw, pw, ph, ph))
        views = [
            x[:, i : i + sh * (height - 1) + 1 : sh, j : j + sw * (width - 1) + 1 : sw]
            for i in range(kh) for j in range(kw)
        ]  # fmt: skip
        columns = torch.cat(views, -1) if len(views) > 1 else views[0]
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        # As a matrix: without gradients a product of more dimensions copies the weights once for each row of the map.
        y = F.linear(columns.reshape(-1, columns.shape[-1]), weight, self.bias)
        return y.view(-1, height, width, self.out_channels).permute(0, 3, 1, 2)

    def _is_plain(self) -> bool:
        return (
            self.groups == 1
            and self.padding_mode == "zeros"
            and self.dilation == (1, 1)
            and not isinstance(self.padding, str)
        )


def replace_modules(model: nn.Module, replacement: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Put in place of every module below `model` what `replacement` makes of it; returns the model."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            new = replacement(child)
            if new is not child:
                setattr(parent, name, new)
    return model


def replace_convolutions(model: nn.Module, kind: type[nn.Conv2d] = Conv2d) -> nn.Module:
    """Replace every convolution below `model` by one of `kind` with the same parameters; returns the model."""

    def replacement(old: nn.Module) -> nn.Module:
        if not isinstance(old, nn.Conv2d) or type(old) is kind:
            return old
        # On the meta device nothing is drawn, so that the weights of a seed stay what they were.
        new = kind(
            old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,
            old.groups, old.bias is not None, old.padding_mode, device="meta",
        )  # fmt: skip
        new.weight, new.bias = old.weight, old.bias
        return new.train(old.training)

    return replace_modules(model, replacement)
