"""Random numbers as a function of (seed, target, step), independent of the rest of the batch, of ranks and of restarts."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

# Steps per draw. A constant, not the stage length: a picture must not change with how often it is logged.
BLOCK = 64


def seed_of(*key: object) -> int:
    """A seed in [0, 2**63) for the given key; different keys give unrelated seeds (BLAKE2b of the key's repr).

    >>> seed_of(0, "logits:11") == seed_of(0, "logits:11") != seed_of(1, "logits:11")
    True
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def keyed_generator(*key: object) -> torch.Generator:
    """A CPU generator that starts at ``seed_of(*key)``, of which torch uses the low 32 bits."""
    return torch.Generator().manual_seed(seed_of(*key))


class KeyedUniforms:
    """Uniform draws for each picture and step: row b of ``at(step)`` depends on (seed, keys[b], purpose, step) alone.

    Drawn on the CPU in blocks of 64 steps and moved to the device once per block.

    Args:
        seed: the run's seed.
        keys: one key per picture.
        purpose: what the numbers are for; two purposes share no numbers.
        count: how many numbers a picture needs in a step.
    """

    def __init__(self, seed: int, keys: Sequence[str], purpose: str, count: int) -> None:
        self.seed, self.keys, self.purpose, self.count = seed, tuple(keys), purpose, count
        self._number, self._block = -1, torch.empty(0)

    def at(self, step: int, device: torch.device | str = "cpu") -> Tensor:
        """Uniforms in [0, 1) of shape (len(keys), count), float32, for one step."""
        return self.block(step, device)[step % BLOCK]

    def block(self, step: int, device: torch.device | str = "cpu") -> Tensor:
        """Uniforms of the `BLOCK` steps from the last multiple of `BLOCK` on, (BLOCK, len(keys), count)."""
        number = step // BLOCK
        if number != self._number or self._block.device != torch.device(device):
            draws = [
                torch.rand(BLOCK, self.count, generator=keyed_generator(self.seed, key, self.purpose, number))
                for key in self.keys
            ]
            self._number, self._block = number, torch.stack(draws, 1).to(device)
        return self._block
