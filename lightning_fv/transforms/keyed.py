"""Base class of the random transforms: functions of pictures and of random numbers drawn elsewhere."""

from torch import Tensor, nn


class KeyedTransform(nn.Module):
    """A random transform that draws nothing itself: it is handed uniforms keyed by (seed, target, step).

    Attributes:
        draws: how many uniforms it needs per picture and step.
        unit: the length of 1.0 in pixels: the longer side that the network was trained at.
    """

    draws: int = 0
    unit: int = 224

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Transform (B, 3, H, W) pictures with uniforms (B, draws) in [0, 1)."""
        raise NotImplementedError


class PreparedTransform(KeyedTransform):
    """A transform that is computed from its uniforms for many steps at once: a step then has less to do."""

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        return self.apply_prepared(images, self.prepare(uniforms, (images.shape[-2], images.shape[-1])))

    def prepare(self, uniforms: Tensor, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """What `apply_prepared` needs for pictures of ``size`` (height, width).

        Args:
            uniforms: (..., draws) in [0, 1), of any number of steps.
            size: (height, width) of the pictures.

        Returns:
            Tensors (..., *), whose first axes are those of ``uniforms``.
        """
        raise NotImplementedError

    def apply_prepared(self, images: Tensor, prepared: tuple[Tensor, ...]) -> Tensor:
        """Transform (B, 3, H, W) pictures by what `prepare` returned for uniforms (B, draws)."""
        raise NotImplementedError
