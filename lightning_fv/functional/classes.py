"""What a classifier says of the class that a picture was made for."""

from torch import Tensor


def class_probability(logits: Tensor, index: Tensor) -> Tensor:
    """Softmax probability of a class for each picture.

    Args:
        logits: (B, classes).
        index: (B,) of integers, the class that each picture was made for.

    Returns:
        (B,) in [0, 1]; NaN for a picture with a NaN logit.

    Raises:
        ValueError: an index that is not a class.
    """
    _check(logits, index)
    return logits.softmax(1).gather(1, index[:, None])[:, 0]


def class_rank(logits: Tensor, index: Tensor) -> Tensor:
    """Rank of a class among all classes for each picture; 1 is the highest logit.

    Classes of equal logits share the mean of their ranks, so that a classifier with the same logit for all of n classes
    gives (n + 1) / 2, as chance would, and not 1.

    Args:
        logits: (B, classes).
        index: (B,) of integers, the class that each picture was made for.

    Returns:
        (B,) in [1, classes], of the logits' dtype; NaN for a picture with a NaN logit.

    Raises:
        ValueError: an index that is not a class.
    """
    _check(logits, index)
    own = logits.gather(1, index[:, None])
    rank = (logits > own).sum(1) + ((logits == own).sum(1) + 1) / 2
    return rank.to(logits.dtype).masked_fill(logits.isnan().any(1), float("nan"))


def _check(logits: Tensor, index: Tensor) -> None:
    if len(index) != len(logits):
        raise ValueError(f"{len(logits)} rows of logits, but {len(index)} classes")
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < logits.shape[1]:
        raise ValueError(
            f"classes from {int(index.min())} to {int(index.max())}; logits are of 0 to {logits.shape[1] - 1}"
        )
