"""Pictures that a render starts from instead of noise."""

import contextlib
import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from lightning_fv.errors import FeatureVisualizationError, UsageError
from lightning_fv.functional import resize_images
from lightning_fv.optimization.nonfinite import NonFiniteGuard
from lightning_fv.parameterizations import Parameterization


def check_start(start: Tensor, count: int, channels: int = 3) -> Tensor:
    """Pictures to start from, one per target.

    Args:
        start: (count or 1, C, H, W) or (C, H, W) in [0, 1].
        count: number of targets.
        channels: C of the network's pictures.

    Returns:
        (count, C, H, W), float32, on the CPU.

    Raises:
        UsageError: it is something else.
    """
    size_of(start)
    pictures = start.detach().cpu()
    pictures = pictures if pictures.ndim == 4 else pictures[None]
    if pictures.shape[1] != channels:
        raise UsageError(
            f"start is a tensor {tuple(start.shape)}, and the network takes pictures (B, {channels}, H, W), a channel for each "
            "number of its mean and std; give such pictures"
        )
    if len(pictures) not in (1, count):
        raise UsageError(
            f"start has {len(pictures)} pictures for {count} target{'s' * (count != 1)}; give one for all, or one for each"
        )
    if not pictures.is_floating_point() or not bool(((pictures >= 0) & (pictures <= 1)).all()):  # also false for NaN
        low, high = pictures.min().item(), pictures.max().item()
        raise UsageError(f"start has {pictures.dtype} values from {low:g} to {high:g}; give numbers in [0, 1]")
    return pictures.float().expand(count, -1, -1, -1)


def size_of(start: Tensor) -> tuple[int, int]:
    """(height, width) of pictures to start from.

    Raises:
        UsageError: they are not a tensor of pictures.
    """
    if not isinstance(start, Tensor) or start.ndim not in (3, 4) or 0 in start.shape:
        what = f"a tensor {tuple(start.shape)}" if isinstance(start, Tensor) else f"a {type(start).__name__}"
        raise UsageError(f"start is {what}; give pictures as a tensor (C, H, W) or (B, C, H, W) in [0, 1]")
    return start.shape[-2], start.shape[-1]


@torch.no_grad()
def start_from(parameterization: Parameterization, start: Tensor, size: tuple[int, int]) -> None:
    """Start from pictures.

    Args:
        parameterization: is given them.
        start: (B, C, H, W) in [0, 1].
        size: (height, width) in pixels; the pictures are resized to it.
    """
    if tuple(start.shape[-2:]) != size:
        start = resize_images(start, size).clamp(0, 1)
    parameterization.from_image(start)


@torch.no_grad()
def add_details(
    parameterization: Parameterization, guard: NonFiniteGuard, start: Tensor, before: tuple[int, int], rows: Tensor
) -> None:
    """Add to pictures that have grown what their starts show at the new size and did not at the old one, as the octaves of
    DeepDream do (Mordvintsev et al. 2015): a photo gets sharper, and what was made of it stays.

    Args:
        parameterization: of the pictures, which have grown.
        guard: holds their last finite values.
        start: (B, C, H, W) in [0, 1], what they started from, at the largest size that is known.
        before: (height, width) in pixels of the pictures before they grew.
        rows: (B,) bool, which pictures started from it.
    """
    images = parameterization()
    if images.shape[1] != start.shape[1] or (start.shape[-2] <= before[0] and start.shape[-1] <= before[1]):
        return
    start, size = start.to(images.device), parameterization.size
    sharper = images + resize_images(start, size) - resize_images(resize_images(start, before), size)
    rows = rows & sharper.isfinite().flatten(1).all(1)
    scratch, values = copy.deepcopy(parameterization), parameterization.values
    scratch.from_image(torch.where(rows.view(-1, 1, 1, 1), sharper.clamp(0, 1), 0.5))
    values[rows] = scratch.values[rows]
    guard.last_finite[rows] = values[rows]


@contextlib.contextmanager
def naming(parameterization: Parameterization) -> Iterator[None]:
    """What the functions of a parameterization raise, perhaps a user's own, is said in one line that names its class.

    Raises:
        UsageError: instead of whatever is raised, but for this package's own errors and a lack of memory.
    """
    try:
        yield
    except (FeatureVisualizationError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"the parameterization {type(parameterization).__name__} cannot make pictures: {reason}; its functions must be as "
            "in lightning_fv.parameterizations.Parameterization"
        ) from error


def refuse_given(parameterization: Parameterization) -> None:
    """Refuse a recipe's parameterization with pictures, which would be replaced by noise.

    Raises:
        UsageError: it was given some.
    """
    if parameterization.holds_images:
        raise UsageError(
            "the parameterization already holds pictures, which bind would replace; pass them as start= to render or "
            "bind, or call from_image after bind"
        )


def check_count(parameterization: Parameterization, count: int) -> None:
    """Check that there is a picture for each of ``count`` targets, and that all that is learned is in its row.

    Raises:
        UsageError: there are more or fewer, or the parameterization has a Parameter besides ``values``.
    """
    if len(parameterization.values) != count:
        raise UsageError(
            f"there are {len(parameterization.values)} pictures for {count} targets; give from_image one for each target"
        )
    check_groups(parameterization, [count])
    others = [
        name for name, parameter in parameterization.named_parameters() if parameter is not parameterization.values
    ]
    if others:
        raise UsageError(
            f"{type(parameterization).__name__} has the Parameters {', '.join(others)} besides values, which no guard, growth "
            "or restart would know of; pack them into the rows of values (lightning_fv.functional.pack)"
        )


def check_groups(parameterization: Parameterization, counts: Iterable[int]) -> None:
    """Check that each job holds whole groups of pictures, where some are declared to share something.

    Args:
        parameterization: knows the size of a group.
        counts: the number of pictures of each job.

    Raises:
        UsageError: a group would be cut.
    """
    group = parameterization.group
    cut = next((count for count in counts if count % group), None)
    if cut is not None:
        raise UsageError(
            f"the parameterization shares among groups of {group} pictures, and a job has {cut} targets; make the number of "
            f"targets and --batch-size (batch_size=) multiples of {group}"
        )
