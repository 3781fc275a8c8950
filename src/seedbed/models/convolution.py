"""Convolution that is fast on small maps too."""

import torch
from torch import nn
from torch.nn import functional as F

LARGEST_MAP = 16  # output pixels; measured: at 8 x 8 the stock convolution is as good or better


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` (same arguments, weights and state-dict keys) that on a CPU takes small maps by one matrix product.

    A CPU's convolution kernels spend most of their time on overhead where the output has a few pixels: here the shifted
    views of the input are laid side by side and multiplied with the weights at once. Larger maps, GPUs, groups,
    dilation and padding other than zeros go the stock way. Results are equal up to rounding.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` -> `[B, C', H', W']`."""
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        if x.device.type != "cpu" or x.ndim != 4 or not plain or isinstance(self.padding, str):
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


def replace_convolutions(model: nn.Module, kind: type[nn.Conv2d] = Conv2d) -> nn.Module:
    """Let every convolution of a model be one of `kind`, with the same parameters; returns the model."""
    for module in model.modules():
        if type(module) in (nn.Conv2d, Conv2d):
            module.__class__ = kind  # nothing is drawn: the weights of a seed stay what they were
    return model
