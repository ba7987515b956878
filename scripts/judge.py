"""A second opinion on a run's pictures: another architecture, trained apart on the same photos, names what it sees.

``python scripts/judge.py RUN`` prints, for each class target of the run folder RUN, the class that the judge sees.
"""

from torch import Tensor, nn


class JudgeNet(nn.Module):
    """Plain convolutions with max pooling and GELU (VGG's plan, Simonyan & Zisserman 2015), 1.4 M parameters.

    No shortcut, no strided convolution, no ReLU: what fools the demo network's ResNet need not fool this.

    Shape: normalised photos (B, 3, H, W) -> logits (B, num_classes).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        plan = ((3, 32), (32, 48), None, (48, 80), (80, 96), None, (96, 160), (160, 160), None, (160, 256), (256, 256))
        layers: list[nn.Module] = []
        for step in plan:
            if step is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(*step, 3, padding=1, bias=False), nn.BatchNorm2d(step[1]), nn.GELU()]
            if step == (3, 32):
                layers.append(nn.MaxPool2d(2))  # full resolution costs most and tells least
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(256, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x).amax((2, 3)))
        return logits
