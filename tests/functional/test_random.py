import hashlib

import pytest
import torch
from scipy.stats import kstest

from lightning_fv.functional import KeyedUniforms, keyed_generator, seed_of

STEPS = (0, 1, 63, 64, 65, 127, 128, 4095)


def row(seed: int, key: str, purpose: str, step: int, count: int = 4) -> torch.Tensor:
    return KeyedUniforms(seed, [key], purpose, count).at(step)[0]


def test_a_row_does_not_depend_on_its_batch_mates() -> None:
    together = KeyedUniforms(0, ["a", "b", "c"], "warp", 4)
    turned = KeyedUniforms(0, ["c", "b", "a", "a"], "warp", 4)
    for step in STEPS:
        expected = torch.stack([row(0, key, "warp", step) for key in "abc"])
        assert torch.equal(together.at(step), expected)
        assert torch.equal(turned.at(step), expected[[2, 1, 0, 0]])


def test_a_row_does_not_depend_on_the_steps_before() -> None:
    forwards = KeyedUniforms(0, ["a"], "warp", 3)
    seen = [forwards.at(step).clone() for step in range(130)]
    backwards = KeyedUniforms(0, ["a"], "warp", 3)
    for step in reversed(range(130)):
        assert torch.equal(backwards.at(step), seen[step])
    assert len({tuple(draw[0].tolist()) for draw in seen}) == 130  # no step repeats another, over blocks' borders too


def test_seed_key_and_purpose_all_count() -> None:
    rows = [row(0, "a", "warp", 0), row(1, "a", "warp", 0), row(0, "b", "warp", 0), row(0, "a", "noise", 0)]
    numbers = torch.cat(rows).tolist()
    assert len(set(numbers)) == len(numbers)


def test_draws_are_uniform_to_both_ends(device: torch.device) -> None:
    uniforms = KeyedUniforms(0, [f"logits:{unit}" for unit in range(16)], "warp", 4)
    draws = torch.stack([uniforms.at(step, device) for step in range(192)])
    assert draws.shape == (192, 16, 4)
    assert draws.dtype == torch.float32
    assert draws.device.type == device.type
    assert 0 <= draws.min() < 0.001
    assert 0.999 < draws.max() < 1
    for column in draws.cpu().reshape(-1, 4).T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-3


def test_steps_are_unrelated() -> None:
    uniforms = KeyedUniforms(0, ["a"], "warp", 1)
    draws = torch.cat([uniforms.at(step)[0] for step in range(1024)])
    lags = [torch.corrcoef(torch.stack([draws[:-lag], draws[lag:]]))[0, 1].abs() for lag in (1, 64, 128)]
    assert max(lags) < 0.12  # 3.5 standard errors


def test_torchs_own_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    row(0, "a", "warp", 70)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seed_is_the_hash_it_says() -> None:
    """BLAKE2b of the repr: the same in every process, on every machine, in every release."""
    digest = hashlib.blake2b(b"(0, 'logits:11')", digest_size=8).digest()
    assert seed_of(0, "logits:11") == int.from_bytes(digest, "big") // 2


@pytest.mark.parametrize("other", [("ab",), ("b", "a"), ("a", "b", ""), ("a,b",), ("a", "c")])
def test_unlike_keys_have_unlike_seeds(other: tuple[object, ...]) -> None:
    assert seed_of("a", "b") != seed_of(*other)
    assert seed_of(0, "1") != seed_of(0, 1)


def test_seeds_are_in_range() -> None:
    seeds = [seed_of(number) for number in range(500)]
    assert 0 <= min(seeds) < 2**56
    assert 2**63 - 2**56 < max(seeds) < 2**63


def test_generator_starts_at_its_seed() -> None:
    expected = torch.rand(5, generator=torch.Generator().manual_seed(seed_of(3, "x")))
    assert torch.equal(torch.rand(5, generator=keyed_generator(3, "x")), expected)
    assert keyed_generator(3, "x").device.type == "cpu"
