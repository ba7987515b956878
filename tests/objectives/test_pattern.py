import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lightning_fv import load_network, render
from lightning_fv.commands.main import main
from lightning_fv.errors import CheckpointError, UsageError
from lightning_fv.objectives import Channel, Direction, DistributionMatching, Minimum, Objective, Pattern, SAELatent
from lightning_fv.objectives.pattern import COVARIANCES
from lightning_fv.optimization.objective_gradient import ChunkedObjective
from lightning_fv.targets import resolve_targets
from tests.helpers import noise, smooth_photos

IMAGES = noise(4, 3, 9, 7)
C = 6


def stored(folder: Path, network: str = "demo", **parts: torch.Tensor) -> Path:
    """A file of the means, standard deviations and correlations of layer1, and the same of layer2."""
    values = noise(50, C, seed=5) @ noise(C, C, seed=6)
    numbers = {"mean": values.mean(0), "std": values.std(0), "correlation": torch.corrcoef(values.T).half()} | parts
    tensors = {
        f"{network}:{layer} {part}": value.clone() for layer in ("layer1", "layer2") for part, value in numbers.items()
    }
    save_file(tensors, folder / "covariances.safetensors", {network: load_network(network).digest()})
    return folder / "covariances.safetensors"


def bound(file: Path | None, objectives: list[Objective], power: float = 1.0, network: str = "demo") -> Pattern:
    return Pattern(power, file).for_network(load_network(network)).for_objectives(objectives)


def test_is_the_angle_to_the_pattern_of_each_unit(tmp_path: Path) -> None:
    file = stored(tmp_path)
    vector = noise(C, seed=2)
    objectives = [Channel("layer1", 4), Direction("layer2", vector), Direction("layer1", vector), Channel("layer1", 4)]
    covariance = torch.cov((noise(50, C, seed=5) @ noise(C, C, seed=6)).T)
    of_rows = torch.stack([covariance[4], covariance @ vector, covariance @ vector - covariance[3], -covariance[4]])
    maps = {
        "layer1": noise(4, C, 5, 3, seed=3) + of_rows[..., None, None],
        "layer2": noise(4, C, 7, seed=4) + of_rows[..., None],
    }
    found = bound(file, objectives, 0.5)(maps, IMAGES)
    values = noise(50, C, seed=5).numpy() @ noise(C, C, seed=6).numpy()
    mean, std, covariance = values.mean(0), values.std(0, ddof=1), np.cov(values.T)
    expected = []
    for row, objective in enumerate(objectives):
        weight = vector.numpy() if isinstance(objective, Direction) else np.eye(C)[4]
        pattern = covariance @ weight / std
        given = (maps[objective.layer][row].flatten(1).mean(1).numpy() - mean) / std
        cosine = given @ pattern / np.linalg.norm(given) / np.linalg.norm(pattern)
        expected.append(1 - max(cosine, 0.1) ** 0.5)
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=2e-3)
    assert len(set(expected)) > 2


def test_a_filter_that_cancels_a_distractor_has_the_pattern_of_its_signal(tmp_path: Path) -> None:
    """Haufe et al. 2014, Figure 1: of x = (signal + distractor, distractor), the filter (1, -1) reads the signal, whose pattern is (1, 0)."""
    signal, distractor = noise(2000, 1, seed=1), noise(2000, 1, seed=2)
    values = torch.cat([signal + distractor, distractor], 1)
    parts = {"mean": torch.zeros(2), "std": values.std(0), "correlation": torch.corrcoef(values.T)}
    file = stored(tmp_path, **parts)
    penalty = bound(file, [Direction("layer1", [1.0, -1.0])] * 2)
    like_pattern, like_filter = torch.tensor([1.0, 0.0]), torch.tensor([1.0, -1.0])
    found = penalty({"layer1": torch.stack([like_pattern, like_filter])[..., None]}, IMAGES[:2])
    assert float(found[0]) < 0.01
    assert float(found[1]) > 0.2


def test_the_gradient_is_that_of_the_objective_times_the_cosines_power() -> None:
    network, target = load_network("demo"), resolve_targets("layer4:3", load_network("demo"))
    images = smooth_photos(64, 64)[:1] * 0.5 + 0.25
    penalty = bound(None, [Channel("layer4", 3)], 3.0)
    mean, std, pattern = penalty._patterns[0][2:]
    seen = images.clone().requires_grad_()
    activation = network.activations(seen, ["layer4"])["layer4"].mean((2, 3))
    cosine = torch.cosine_similarity((activation - mean) / std, pattern)
    expected = activation[:, 3] * cosine.clamp(min=0.1) ** 3
    (gradient,) = torch.autograd.grad(expected.sum(), seen)
    found = ChunkedObjective(network, target, penalties=[Pattern(3.0)])(images, images)
    torch.testing.assert_close(found.by_seen, gradient, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.objectives - found.penalty, expected.detach(), rtol=1e-4, atol=1e-5)


def test_other_penalties_take_a_share_of_what_it_leaves() -> None:
    """Otherwise they would outweigh the objective in the first steps, where the cosine is small."""
    network, target = load_network("demo"), resolve_targets("layer4:3", load_network("demo"))
    images = smooth_photos(64, 64)[:1] * 0.5 + 0.25
    other = DistributionMatching("layer1", 0.1)
    alone, both = (
        ChunkedObjective(network, target, penalties=penalties)(images, images)
        for penalties in ([Pattern()], [other, Pattern()])
    )
    share = other.for_network(network)(network.activations(images, ["layer1"]), images)
    left = alone.objectives - alone.penalty
    assert float(left.abs()) > 0
    torch.testing.assert_close(both.objectives - both.penalty, left - left.abs() * share)


def test_of_a_latent_it_is_that_of_its_encoder() -> None:
    network, latent = "demo/vit", SAELatent("demo/vit", 33)
    direction = Direction("blocks.3", latent._weight)
    maps = {"blocks.3": noise(2, 128, 64, seed=1)}
    found = bound(None, [latent, direction], 1.0, network)._patterns[0][4]
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-3)
    assert bool(bound(None, [latent, direction], 1.0, network)(maps, IMAGES[:2]).isfinite().all())


def test_the_packages_covariances_are_small_and_of_photos() -> None:
    assert COVARIANCES.stat().st_size <= 500_000
    for name, layer in (("demo", "layer1"), ("demo", "layer4"), ("demo/vit", "blocks.0"), ("demo/vit", "blocks.5")):
        correlation = Pattern().for_network(load_network(name))._measurements(layer)[2]
        assert bool((correlation.diagonal() > 0).all())
        assert float(torch.linalg.eigvalsh(correlation).min()) > -0.01
        torch.testing.assert_close(correlation, correlation.T)


def test_the_script_measures_what_the_penalty_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import measure_covariances

    photos = torch.cat([smooth_photos(64, 64), noise(4, 3, 64, 64).sigmoid()])
    pixels = (photos * 255).round().to(torch.uint8)
    (tmp_path / "train").mkdir()
    for number, photo in enumerate(pixels):
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(tmp_path / "train" / f"{number}.png")
    file = tmp_path / "c.safetensors"
    words = ["--photos", str(tmp_path), "--network", "demo", "--layers", "layer2", "--every", "1", "--out", str(file)]
    monkeypatch.setattr(sys, "argv", ["measure_covariances.py", *words])
    measure_covariances.main()
    network = load_network("demo")
    with torch.no_grad():
        values = network.activations(pixels.float() / 255, ["layer2"])["layer2"].mean((2, 3)).double().numpy()
    mean, std, correlation = Pattern(1.0, file).for_network(network)._measurements("layer2")
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-4, atol=1e-6)
    varied = std.numpy() > np.median(std) / 5  # std of others is raised
    np.testing.assert_allclose(std[varied], values.std(0, ddof=1)[varied], rtol=1e-3)
    expected = np.corrcoef(values.T)
    np.testing.assert_allclose(correlation[varied][:, varied], expected[varied][:, varied], atol=2e-3)


def test_a_render_comes_nearer_to_the_pattern_and_each_picture_to_its_own() -> None:
    network = load_network("demo")
    targets = [Channel("layer4", 3), Channel("layer3", 5), Channel("layer4", 7)]
    options = {"steps": 32, "progress": False, "seed": 0}
    measured = bound(None, targets)
    distances = []
    for penalties in ([], [Pattern()]):
        result = render(network, targets, penalties=penalties, **options)
        with torch.no_grad():
            distances.append(measured(network.activations(result.images, measured.layers), result.images))
    assert bool((distances[1] < 0.9 * distances[0]).all())
    pieces = ChunkedObjective(network, resolve_targets(targets, network), chunk=2, penalties=[Pattern()])
    whole = ChunkedObjective(network, resolve_targets(targets, network), penalties=[Pattern()])
    found, expected = (objective(result.images, result.images).penalty for objective in (pieces, whole))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_as_a_part_of_a_penalty_it_knows_the_units() -> None:
    network, penalty, targets = load_network("demo"), Pattern(1.0), [Channel("layer1", 3)] * 4
    maps = noise(4, 32, 5, 3, seed=2)
    expected = bound(None, targets)({"layer1": maps}, IMAGES)
    for composed, factor in ((0.5 * penalty, 0.5), (Minimum([penalty, 2 * penalty]), 1.0)):
        assert composed.reads_activations
        assert composed.multiplies
        found = composed.for_network(network).for_objectives(targets)({"layer1": maps}, IMAGES)
        torch.testing.assert_close(found, factor * expected)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((float("nan"),), UsageError, "finite power"),
        ((1.0, "missing.safetensors"), CheckpointError, "missing.safetensors"),
        ((1.0, None, "0123"), UsageError, "have changed"),
    ],
)
def test_what_is_refused(arguments: tuple[object, ...], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Pattern(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("logits:3", "cannot be used for logits:3"),
        ("layer4:3+layer4:3@1,1", "cannot be used for layer4:3@1,1"),
        ("stem:3", "no covariances of demo:stem in the package; known are demo/vit:blocks.0"),
    ],
)
def test_other_targets_are_refused_before_any_work(target: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        render("demo", target, penalties=[Pattern()], progress=False)


def test_a_latent_after_its_nonlinearity_is_refused() -> None:
    with pytest.raises(UsageError, match="not sae_activation"):
        render("demo/vit", "sae_activation:demo/vit:3", penalties=[Pattern()], progress=False)


def test_covariances_of_other_weights_and_a_file_that_has_changed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="of demo in the package are of other weights"):
        render(load_network("demo", None), "layer4:0", penalties=[Pattern()], progress=False)
    save_file(load_file(stored(tmp_path)), tmp_path / "unsigned.safetensors")
    with pytest.raises(UsageError, match=r"of demo in .*unsigned.safetensors are of other weights"):
        Pattern(1.0, tmp_path / "unsigned.safetensors").for_network(load_network("demo"))
    before = Pattern(1.0, stored(tmp_path)).digest
    assert before is not None
    Pattern(1.0, tmp_path / "covariances.safetensors", before)
    stored(tmp_path, mean=torch.ones(C))
    with pytest.raises(UsageError, match="have changed"):
        Pattern(1.0, tmp_path / "covariances.safetensors", before)
    with pytest.raises(UsageError, match="no part of a target"):
        Pattern()({"layer1": noise(1, C, 3)}, IMAGES[:1])


@pytest.mark.parametrize(
    "parts",
    [
        {"std": torch.zeros(C)},
        {"mean": torch.full((C,), torch.nan)},
        {"correlation": torch.ones(C, C + 1)},
        {"std": torch.ones(C + 1)},
    ],
)
def test_a_file_of_unusable_numbers_is_refused(parts: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"demo:layer1 in .*covariances.safetensors .*measure_covariances"):
        bound(stored(tmp_path, **parts), [Channel("layer1", 0)])


def test_the_recipe_on_the_command_line_and_back(tmp_path: Path) -> None:
    words = ["--config", "pattern", "--targets", "layer4:3+layer3:0", "--trainer.accelerator", "cpu"]
    words += ["--trainer.enable_progress_bar", "false", "--trainer.max_steps", "2", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    (penalty,) = config["model"]["penalties"]
    assert penalty["class_path"].endswith(".Pattern")
    assert penalty["init_args"]["power"] == Pattern().power
    assert main(["--resume", "--out", str(tmp_path / "run")]) == 0
