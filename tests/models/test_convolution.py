"""The matrix-product convolution equals the stock one, forwards and backwards."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seedbed.models import convolution
from seedbed.models.convolution import Conv2d, replace_convolutions
from seedbed.models.resnet import ResNet18


def both(stock: nn.Conv2d, x: torch.Tensor) -> list[list[torch.Tensor]]:
    """Output, and gradients of input, weight and bias, of the stock and of our convolution."""
    ours = replace_convolutions(nn.Sequential(copy.deepcopy(stock)))[0]
    assert type(ours) is Conv2d and list(ours.state_dict()) == list(stock.state_dict())
    results = []
    for layer in (stock, ours):
        # The stock 1x1 kernel with a stride crashes on some channels_last input: it is asked about contiguous copies.
        inside = (x.contiguous() if layer is stock else x).clone().requires_grad_()
        out = layer(inside)
        out.backward(torch.linspace(-1, 1, out.numel()).view_as(out))
        results.append([out, inside.grad, *(p.grad for p in layer.parameters())])
    return results


@given(
    st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)), st.integers(0, 2), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=150)
def test_outputs_and_gradients_are_the_stock_ones(channels, height, width, kernel, stride, padding, bias, last):
    height, width = max(height, kernel[0]), max(width, kernel[1])
    torch.manual_seed(0)
    x = torch.randn(2, channels, height, width)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    stock, ours = both(nn.Conv2d(channels, 4, kernel, stride, padding, bias=bias), x)
    for a, b in zip(stock, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_small_maps_take_the_other_way_and_large_ones_do_not(monkeypatch):
    taken = []
    linear = convolution.F.linear
    monkeypatch.setattr(convolution.F, "linear", lambda *a: taken.append(a[0].shape) or linear(*a))
    layer = Conv2d(3, 4, 3, padding=1)
    layer(torch.zeros(1, 3, 4, 4))
    assert taken == [(16, 27)]
    layer(torch.zeros(1, 3, 5, 5))
    for odd in ({"groups": 3}, {"dilation": 2}, {"padding_mode": "reflect"}, {"padding": "same"}):
        Conv2d(3, 3, 3, **{"padding": 1, **odd})(torch.zeros(1, 3, 4, 4))
    assert len(taken) == 1


@pytest.mark.parametrize("kernel, stride", [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_evaluation_in_bfloat16_copies_the_weights_once(kernel, stride):
    """By autocast's cast weights torch once multiplied row by row of the map: 16 GB of copies a batch of 1,000."""
    layer = Conv2d(64, 256, kernel, stride, padding=kernel // 2, bias=False)
    x = torch.randn(32, 64, 4, 4, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16),
        torch.profiler.profile(profile_memory=True) as profile,
    ):
        out = layer(x)
    allocated = sum(max(0, event.self_cpu_memory_usage) for event in profile.key_averages())
    columns = kernel**2 * x.nbytes
    assert out.nbytes <= allocated <= 2 * (columns + out.nbytes + layer.weight.nbytes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resnet_is_the_same_with_either(dtype):
    ours = ResNet18((3, 32, 32), 10)
    stock = replace_convolutions(copy.deepcopy(ours), nn.Conv2d)
    assert not any(isinstance(module, Conv2d) for module in stock.modules())
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8)
    losses = []
    for model in (ours, stock):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = model(x)
        loss = nn.functional.cross_entropy(logits.float(), y)
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4 if dtype == torch.float32 else 0.05)
    if dtype == torch.float32:
        for a, b in zip(ours.parameters(), stock.parameters(), strict=True):
            assert (a.grad - b.grad).norm() <= 1e-3 * b.grad.norm() + 1e-6


@pytest.mark.parametrize("channels", [4, 5, 64])
def test_a_strided_1x1_kernel_on_a_large_channels_last_map(channels):
    """In a loop, since the stock kernel's fault showed only now and then."""
    for side in range(9, 15):
        x = torch.randn(2, channels, side, side + 1).contiguous(memory_format=torch.channels_last)
        for a, b in zip(*both(nn.Conv2d(channels, 8, 1, stride=2), x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_taking_over_draws_nothing():
    torch.manual_seed(3)
    stock = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 1)))
    before, weight = torch.get_rng_state(), stock[0].weight
    replace_convolutions(stock)
    assert torch.equal(before, torch.get_rng_state()) and stock[0].weight is weight
    assert isinstance(stock[1][0], Conv2d)
