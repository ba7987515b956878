import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from lightning_fv import load_network, render
from lightning_fv.errors import CheckpointError, TargetError
from lightning_fv.objectives import Channel, Direction, SAELatent, stack_objectives
from lightning_fv.objectives.base import Activations
from lightning_fv.runs.settings import objective_settings
from tests.helpers import autoencoder, noise

MAPS, IMAGES = noise(4, 6, 5, 3, seed=1), noise(4, 3, 9, 7)
PARTS = autoencoder(6, 10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(PARTS, tmp_path / "sae.safetensors", {"architecture": "topk", "k": "3", "layer": "maps"})
    return tmp_path / "sae.safetensors"


def expected(maps: Tensor, latent: int, reading: str) -> NDArray[np.float64]:
    """Place by place in numpy, (B, P)."""
    w_enc, b_enc, w_dec, b_dec = (part.double().numpy() for part in PARTS.values())
    places = maps.double().flatten(2).numpy()
    values = np.zeros((len(maps), places.shape[2]))
    for picture, place in np.ndindex(values.shape):
        x = places[picture, :, place]
        hidden = (x - b_dec) @ w_enc + b_enc
        if reading == "decoder":
            values[picture, place] = x @ w_dec[latent] / np.linalg.norm(w_dec[latent])
        elif reading == "pre_activation" or (latent in hidden.argsort()[-3:] and hidden[latent] > 0):
            values[picture, place] = hidden[latent]
    return values


@pytest.mark.parametrize("reading", ["pre_activation", "activation", "decoder"])
def test_the_mean_over_places_of_the_formula(file: Path, reading: str) -> None:
    for latent in (0, 7):
        values = expected(MAPS, latent, reading)
        assert reading != "activation" or 0 < (values > 0).mean() < 1
        whole = SAELatent(file, latent, reading=reading)({"maps": MAPS}, IMAGES)
        np.testing.assert_allclose(whole, values.mean(1), rtol=1e-4, atol=1e-6)
        tokens = SAELatent(file, latent, reading=reading)({"maps": MAPS.flatten(2)}, IMAGES)
        np.testing.assert_allclose(tokens, whole, rtol=1e-5, atol=1e-6)
        place = SAELatent(file, latent, reading=reading, position=(4, 2))({"maps": MAPS}, IMAGES)
        np.testing.assert_allclose(place, values[:, 14], rtol=1e-4, atol=1e-6)
        token = SAELatent(file, latent, reading=reading, position=[3])({"maps": MAPS.flatten(2)}, IMAGES)
        np.testing.assert_allclose(token, values[:, 3], rtol=1e-4, atol=1e-6)
        flat = SAELatent(file, latent, reading=reading)({"maps": MAPS[:, :, 0, 0]}, IMAGES)
        np.testing.assert_allclose(flat, values[:, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reading", ["pre_activation", "activation"])
def test_its_gradient(file: Path, reading: str) -> None:
    maps = MAPS.clone().requires_grad_()
    latent = SAELatent(file, 7, reading=reading)
    (gradient,) = torch.autograd.grad(latent({"maps": maps}, IMAGES).sum(), maps)
    passes = (
        expected(MAPS, 7, "activation").reshape(4, 1, 5, 3) > 0 if reading == "activation" else np.ones((4, 1, 5, 3))
    )
    np.testing.assert_allclose(gradient, PARTS["W_enc"][:, 7].view(1, 6, 1, 1) * passes / 15, rtol=1e-4, atol=1e-7)


def test_a_normalised_input(tmp_path: Path) -> None:
    settings = {"architecture": "relu", "layer": "maps", "normalize_activations": "layer_norm"}
    save_file(PARTS, tmp_path / "a.safetensors", settings)
    centred = MAPS - MAPS.mean(1, keepdim=True)
    normalised = centred / (centred.std(1, keepdim=True) + 1e-5)
    latent = SAELatent(tmp_path / "a.safetensors", 7)
    values = expected(normalised, 7, "pre_activation")
    np.testing.assert_allclose(latent({"maps": MAPS}, IMAGES), values.mean(1), rtol=1e-4)
    along = SAELatent(tmp_path / "a.safetensors", 7, reading="decoder")({"maps": MAPS}, IMAGES)
    torch.testing.assert_close(along, Direction("maps", PARTS["W_dec"][7])({"maps": MAPS}, IMAGES))


def test_tokens_that_it_was_trained_on(tmp_path: Path) -> None:
    torch.save(PARTS, tmp_path / "weights.pt")
    values = expected(MAPS, 7, "pre_activation")
    for name, mean in {"use_patches_only": values[:, 1:].mean(1), "cls_token_only": values[:, 0]}.items():
        (tmp_path / "config.json").write_text(f'{{"{name}": true}}')
        latent = SAELatent(tmp_path / "weights.pt", 7, "maps")
        np.testing.assert_allclose(latent({"maps": MAPS.flatten(2)}, IMAGES), mean, rtol=1e-4)
        np.testing.assert_allclose(
            latent({"maps": MAPS}, IMAGES), values.mean(1), rtol=1e-4
        )  # a map has no class token


@pytest.mark.parametrize("reading", ["pre_activation", "activation", "decoder"])
def test_latents_of_a_file_are_evaluated_together(file: Path, reading: str) -> None:
    latents = [SAELatent(file, latent, reading=reading) for latent in (7, 0, 3, 7)]
    ((rows, stack),) = stack_objectives(latents)
    assert rows == [0, 1, 2, 3]
    one_by_one = [one({"maps": MAPS[i : i + 1]}, IMAGES[i : i + 1]) for i, one in enumerate(latents)]
    torch.testing.assert_close(stack({"maps": MAPS}, IMAGES), torch.cat(one_by_one))


def test_a_subclass_is_evaluated_by_itself(file: Path) -> None:
    class Squared(SAELatent):
        def __call__(self, activations: Activations, images: Tensor) -> Tensor:
            return super().__call__(activations, images) ** 2

    pair = [SAELatent(file, 1), Squared(file, 1)]
    assert [rows for rows, _ in stack_objectives(pair)] == [[0], [1]]


def test_names(file: Path) -> None:
    latent = SAELatent(file, 7)
    assert latent.text() == f"sae:{file}:7"
    assert latent.file_stem == f"sae-maps-0007-{latent.digest[:6]}"
    assert repr(latent) == f"SAELatent({str(file)!r}, 7, layer='maps', digest={latent.digest!r})"
    assert latent.same_as(SAELatent(str(file), np.int64(7), "maps", digest=latent.digest))  # type: ignore[arg-type]
    other = SAELatent(file, 7, "other", "decoder")
    assert other.text() == f"sae_decoder:{file}:7@other"
    assert other.file_stem == f"sae-other-0007-decoder-{other.digest[:6]}"
    place = SAELatent(file, 7, position=(1, 2))
    assert place.text() == repr(place)
    assert place.file_stem is None
    for one in (latent, other, place):
        assert eval(repr(one)).same_as(one)
    assert len({one.key for one in (latent, other, place)}) == 3


def test_another_autoencoder_in_the_file_is_refused(file: Path) -> None:
    before = SAELatent(file, 7)
    settings = objective_settings(before)
    save_file(PARTS | {"b_enc": PARTS["b_enc"] * 2}, file, {"architecture": "topk", "k": "3", "layer": "maps"})
    with pytest.raises(TargetError, match=rf"sae\.safetensors has changed: its digest is .*, not {before.digest}"):
        SAELatent(file, 7, digest=before.digest)
    after = SAELatent(file, 7)
    assert after.key != before.key
    assert objective_settings(after) != settings


def test_pickled_it_holds_the_numbers_of_one_latent(tmp_path: Path) -> None:
    save_file(autoencoder(64, 4096), tmp_path / "a.safetensors", {"architecture": "relu", "layer": "x"})
    for reading in ("pre_activation", "decoder"):
        content = pickle.dumps(SAELatent(tmp_path / "a.safetensors", 7, reading=reading))
        assert len(content) < 10_000
        assert pickle.loads(content).same_as(SAELatent(tmp_path / "a.safetensors", 7, reading=reading))


def test_what_is_wrong_is_told_in_one_line(file: Path) -> None:
    with pytest.raises(TargetError, match=r"sae\.safetensors has no latent 10; there are 0 to 9"):
        SAELatent(file, 10)
    with pytest.raises(TargetError, match="has no latent -1"):
        SAELatent(file, -1)
    with pytest.raises(TargetError, match="a unit is a whole number, not '1'"):
        SAELatent(file, "1")  # type: ignore[arg-type]
    with pytest.raises(TargetError, match="one of pre_activation, activation, decoder, not 'post'"):
        SAELatent(file, 0, reading="post")
    with pytest.raises(TargetError, match=r"SAELatent needs a position"):
        SAELatent(file, 0, position=(1, 2, 3))
    with pytest.raises(TargetError, match=r"layer maps has 5 channels, and the autoencoder .* is one of 6 channels"):
        SAELatent(file, 0)({"maps": MAPS[:, :5]}, IMAGES)
    torch.save(PARTS, file.with_name("weights.pt"))
    file.with_name("config.json").write_text('{"hook_point_layer": 9, "layer_subtype": "hook_resid_post"}')
    with pytest.raises(TargetError, match=r"names no layer .*trained on blocks\.9\.hook_resid_post.*:3@LAYER"):
        SAELatent(file.with_name("weights.pt"), 3)
    overcomplete = {
        "encoder.weight": noise(10, 6),
        "dictionary._weights": noise(10, 6),
        "dictionary.multiplier": torch.zeros(()),
    }
    torch.save(overcomplete, file.with_name("over.pt"))
    with pytest.raises(CheckpointError, match="does not say which nonlinearity"):
        SAELatent(file.with_name("over.pt"), 3, "maps", "activation")


def test_a_picture_of_a_latent_activates_it(tmp_path: Path) -> None:
    network = load_network("demo")
    save_file(autoencoder(128, 256), tmp_path / "sae.safetensors", {"architecture": "relu", "layer": "layer3"})
    target = SAELatent(tmp_path / "sae.safetensors", 7)
    before = render(network, target, steps=1)
    after = render(network, target, steps=48)
    assert after.scores[0] > before.scores[0] + 1
    activation = SAELatent(tmp_path / "sae.safetensors", 7, reading="activation")
    with torch.no_grad():
        shown = [activation(network.activations(found.images, ["layer3"]), found.images) for found in (before, after)]
    assert shown[1] > shown[0]


def test_a_latent_that_is_a_channel(tmp_path: Path) -> None:
    parts = {"W_enc": torch.eye(6), "b_enc": torch.zeros(6), "W_dec": torch.eye(6), "b_dec": torch.zeros(6)}
    save_file(parts, tmp_path / "eye.safetensors", {"architecture": "relu"})
    found = SAELatent(tmp_path / "eye.safetensors", 4, "maps")({"maps": MAPS}, IMAGES)
    torch.testing.assert_close(found, Channel("maps", 4)({"maps": MAPS}, IMAGES))
