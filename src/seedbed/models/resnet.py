"""ResNet-18 for small images."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from seedbed.errors import UserError
from seedbed.models.convolution import replace_convolutions


class ResNet18(ResNet):
    """torchvision's ResNet-18, state-dict keys too, with a 3x3, stride-1 first convolution; its max-pool is kept.

    `input_shape` is `(C, H, W)`, C 1 or 3; grey images are repeated to three channels. The last map of a 32x32 image is
    2x2. 11,173,962 parameters with ten classes. Source: He et al., "Deep Residual Learning for Image Recognition",
    2016, with the stem of huyvnphan/PyTorch_CIFAR10.
    """

    def __init__(self, input_shape: Sequence[int], classes: int):
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise UserError(f"model: a ResNet needs grey or colour images, got shape {tuple(input_shape)}")
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=classes)
        self.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        replace_convolutions(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` -> logits `[B, classes]`."""
        x = self.bn1(self.conv1(x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x))
        # torchvision has these two the other way round: equal, gradients too, and four times the pixels to rectify.
        x = self.relu(self.maxpool(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))

    def stages(self) -> dict[str, list[nn.Module]]:
        """Its modules by name and depth, from the input to the head; a stage's map is what its last module gives."""
        deeper = {f"layer{n}": [getattr(self, f"layer{n}")] for n in (1, 2, 3, 4)}
        return {"stem": [self.conv1, self.bn1], **deeper, "head": [self.fc]}

    def scales(self) -> Iterator[tuple[list[nn.Module], list[nn.Module]]]:
        """BatchNorm layers whose outputs add up, or one alone, and the layers that take what they give."""
        stages = [self.layer1, self.layer2, self.layer3, self.layer4]
        for stage, above in zip(stages, [*stages[1:], None], strict=True):
            first, second = stage
            yield [first.bn1], [first.conv2]
            yield [second.bn1], [second.conv2]
            joined, within = (self.bn1, [first.conv1]) if stage is self.layer1 else (first.downsample[1], [])
            fed = [self.fc] if above is None else [above[0].conv1, above[0].downsample[0]]
            yield [joined, first.bn2, second.bn2], [*within, second.conv1, *fed]
