"""Transparent images as they are shown elsewhere: without torch, which reading a run does not need."""

from PIL import Image


def opaque_rgb(image: Image.Image) -> Image.Image:
    """An image as RGB; one with transparency is laid over mid-grey, as `Parameterization.over_grey` does."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128)), image)
    return image.convert("RGB")
