"""The gradient of a convolution's input, computed in the way that is fastest on a CPU."""

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

InputGradient: TypeAlias = Callable[[Tensor, torch.Size], Tensor]
"""The gradient of the output (B, C', H', W') and the shape (B, C, H, W) of the input -> the gradient of the input."""

FEW_CHANNELS = 4
"""At most so many channels of the input: of a picture."""


def input_gradient(layer: nn.Conv2d, weight: Tensor) -> InputGradient:
    """What computes the gradient of the input of a convolution from that of its output.

    ``aten::convolution_backward`` does it for any convolution. On a CPU (oneDNN) it takes up to three times as long as the forward pass, and
    the same gradient is another convolution, which does not:

    - with a stride of 1, that with the transposed, flipped weights (Dumoulin and Visin 2016, "A guide to convolution arithmetic
      for deep learning", section 4); of a 1x1 convolution with any stride as well, since the pixels that it skips have no gradient;
    - with a stride of s on few channels, as in a network's first layer, a convolution to s² times as many channels whose pixels
      are then interleaved, so that no product with the zeros between the gradient's pixels is computed (Shi et al. 2016, "Is the deconvolution layer the same
      as a convolutional layer?").

    Args:
        layer: its stride, padding (numbers), dilation and groups.
        weight: (C', C / groups, k, l), in place of the layer's own.
    """
    stride, padding, dilation, size = layer.stride, layer.padding, layer.dilation, weight.shape[2:]
    assert not isinstance(padding, str)

    def general(grad: Tensor, shape: torch.Size) -> Tensor:
        shape_alone = weight.new_empty(1).expand(shape)  # of the input, whose values are not needed
        options = stride, padding, dilation, False, [0, 0], layer.groups, [True, False, False]
        found: Tensor = torch.ops.aten.convolution_backward(grad, shape_alone, weight, None, *options)[0]
        return found

    if weight.device.type != "cpu" or layer.groups != 1:
        return general
    # With more padding than the weights reach over, outputs see nothing but padding, and must be left out.
    inner = tuple(d * (k - 1) - p for d, k, p in zip(dilation, size, padding, strict=True))
    if min(inner) >= 0 and (stride == (1, 1) or (tuple(size) == (1, 1) and padding == (0, 0))):
        flipped = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
        if stride == (1, 1):
            return lambda grad, shape: F.conv2d(grad, flipped, None, 1, inner, dilation)
        return lambda grad, shape: _spread(F.conv2d(grad, flipped), shape, stride)
    if weight.shape[1] <= FEW_CHANNELS and dilation == (1, 1) and stride[0] == stride[1] > 1:
        return _interleaved(weight, stride[0], padding)
    return general


def _spread(found: Tensor, shape: torch.Size, stride: tuple[int, ...]) -> Tensor:
    """Pixels of the input that a 1x1 convolution looks at, among zeros for those that it skips."""
    result = torch.empty(shape, dtype=found.dtype, memory_format=torch.channels_last).zero_()
    result[:, :, :: stride[0], :: stride[1]] = found
    return result


def _interleaved(weight: Tensor, stride: int, padding: tuple[int, ...]) -> InputGradient:
    """Input row ``s q + r`` gets weight row k of output row ``q + (r + p - k) / s`` wherever s divides that; columns too."""
    outputs, inputs, *size = weight.shape
    taps = [
        [(r, k, (r + p - k) // stride) for r in range(stride) for k in range(length) if (r + p - k) % stride == 0]
        for length, p in zip(size, padding, strict=True)
    ]
    first = [min(shift for *_, shift in one) for one in taps]
    last = [max(shift for *_, shift in one) for one in taps]
    kernel = weight.new_zeros(inputs, stride, stride, outputs, *(b - a + 1 for a, b in zip(first, last, strict=True)))
    for r, k, y in taps[0]:
        for s, m, x in taps[1]:
            kernel[:, r, s, :, y - first[0], x - first[1]] = weight[:, :, k, m].t()
    kernel = kernel.flatten(0, 2).contiguous(memory_format=torch.channels_last)

    def gradient(grad: Tensor, shape: torch.Size) -> Tensor:
        # Rows of the input over the stride, and those of the gradient that they read: from `first` before to `last` behind.
        rows = [-(-side // stride) for side in shape[2:]]
        reach = [(-a, n + b - length) for a, n, b, length in zip(first, rows, last, grad.shape[2:], strict=True)]
        if min(map(min, reach)) >= 0:  # padding by the convolution, alike on both sides, spares a copy of the gradient
            (top, _), (left, _) = reach
            padding = max(reach[0]), max(reach[1])
            y, x = padding[0] - top, padding[1] - left
            found = F.conv2d(grad, kernel, padding=padding)[:, :, y : y + rows[0], x : x + rows[1]]
        else:
            (top, bottom), (left, right) = reach
            found = F.conv2d(F.pad(grad, (left, right, top, bottom)), kernel)
        # As `pixel_shuffle`, which takes twice as long for channels that come last.
        parts = found.view(len(grad), inputs, stride, stride, *rows).permute(0, 1, 4, 2, 5, 3)
        return parts.reshape(len(grad), inputs, stride * rows[0], stride * rows[1])[:, :, : shape[2], : shape[3]]

    return gradient
