"""The networks that look at the pictures of another."""

from collections import Counter
from collections.abc import Sequence

from lightning_fv.errors import UsageError
from lightning_fv.networks import VisionNetwork, load_network


def load_judges(
    judges: Sequence[str | VisionNetwork], network: VisionNetwork, offline: bool = False
) -> list[VisionNetwork]:
    """Networks that look at the pictures of another.

    Args:
        judges: names as for `load_network`, or networks.
        network: that the pictures were made for.
        offline: whether never to download.

    Raises:
        UsageError: one of them is that network, or two are the same or have the same name.
        NetworkError, CheckpointError: one cannot be loaded.
    """
    names = [judge if isinstance(judge, str) else judge.name for judge in judges]
    _check_names(names, network)
    loaded = [load_network(judge, offline=offline) if isinstance(judge, str) else judge for judge in judges]
    _check_names([judge.name for judge in loaded], network)  # a name may be short for another
    own = network.digest()
    for judge in loaded:
        if judge.digest() == own:
            raise _same(judge.name)
    return loaded


def _check_names(names: Sequence[str], network: VisionNetwork) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(f"judges: {twice[0]} is named twice; name it once")
    if network.name in names:
        raise _same(network.name)


def _same(name: str) -> UsageError:
    return UsageError(f"judges: {name} made the pictures, and cannot judge them; name other networks")
