"""Files of each format, made here with the tensor names that the libraries write, against their formulas in numpy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from lightning_fv.errors import CheckpointError
from lightning_fv.networks.sparse_autoencoder import normalize, read_sparse_autoencoder
from tests.helpers import autoencoder, noise

X = noise(40, 6, seed=9)
PARTS = autoencoder(6, 10)
OWN = {"architecture": "topk", "k": "3", "layer": "layer3"}


def hidden(x: NDArray[np.float64], parts: dict[str, Tensor] = PARTS, subtract: bool = True) -> NDArray[np.float64]:
    """Latents before the nonlinearity, as all of these libraries compute them."""
    w_enc, b_enc, _, b_dec = (parts[name].double().numpy() for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
    return (x - b_dec * subtract) @ w_enc + b_enc


def numbers(x: Tensor) -> NDArray[np.float64]:
    return x.double().numpy()


def test_a_file_of_this_package(tmp_path: Path) -> None:
    save_file(PARTS, tmp_path / "a.safetensors", OWN | {"k": "5"})
    found = read_sparse_autoencoder(tmp_path / "a.safetensors")
    assert (found.latents, found.architecture, found.k, found.layer) == (10, "topk", 5, "layer3")
    expected = hidden(numbers(X))
    np.testing.assert_allclose(found.pre_activations(X), expected, atol=1e-5)
    np.testing.assert_array_equal(found.decoder, PARTS["W_dec"])
    active = found.active(found.pre_activations(X))
    for row, values in zip(active, expected, strict=True):
        assert set(row.nonzero().flatten().tolist()) == {n for n in values.argsort()[-5:] if values[n] > 0}
    assert active.sum(1).min() < 5  # where fewer than k are above 0


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    save_file({name: part.half() for name, part in PARTS.items()}, tmp_path / "a.safetensors", OWN)
    found = read_sparse_autoencoder(tmp_path / "a.safetensors")
    assert found.encoder.dtype == torch.float32
    np.testing.assert_allclose(found.pre_activations(X), hidden(numbers(X)), atol=5e-3)


def test_jumprelu_and_relu(tmp_path: Path) -> None:
    threshold = noise(10, seed=5).abs() / 2
    save_file(PARTS | {"threshold": threshold}, tmp_path / "jump.safetensors", {"architecture": "jumprelu"})
    save_file(PARTS, tmp_path / "relu.safetensors", {"architecture": "relu"})
    expected = hidden(numbers(X))
    for name, bound in {"jump": numbers(threshold), "relu": np.zeros(10)}.items():
        found = read_sparse_autoencoder(tmp_path / f"{name}.safetensors")
        np.testing.assert_array_equal(found.active(found.pre_activations(X)), expected > bound)


@pytest.mark.parametrize(
    ("config", "layer_norm", "subtract"),
    [
        ({"architecture": "standard", "metadata": {"hook_name": "blocks.2.hook_resid_post"}}, False, True),
        ({"architecture": "standard", "apply_b_dec_to_input": False}, False, False),
        ({"architecture": "topk", "k": 4, "normalize_activations": "layer_norm"}, True, True),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}, "normalize_activations": None}, False, True),
    ],
)
def test_files_of_saelens(tmp_path: Path, config: dict[str, Any], layer_norm: bool, subtract: bool) -> None:
    save_file(PARTS, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    found = read_sparse_autoencoder(tmp_path / "sae_weights.safetensors")
    x = numbers(X)
    if layer_norm:
        x = x - x.mean(1, keepdims=True)
        x = x / (x.std(1, ddof=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(found.pre_activations(X), hidden(x, subtract=subtract), atol=1e-4)
    assert found.k == (None if config.get("architecture") == "standard" else 4)
    assert found.layer is None


def test_further_settings_of_saelens(tmp_path: Path) -> None:
    logarithms = noise(10, seed=5) - 1
    torch.save(PARTS | {"log_threshold": logarithms}, tmp_path / "sae.pt")
    (tmp_path / "cfg.json").write_text('{"architecture": "jumprelu", "normalize_activations": "constant_norm_rescale"}')
    found = read_sparse_autoencoder(tmp_path / "sae.pt")
    expected = hidden(numbers(X) * 6**0.5 / np.linalg.norm(numbers(X), axis=1, keepdims=True))
    np.testing.assert_allclose(found.pre_activations(X), expected, atol=1e-5)
    np.testing.assert_array_equal(found.active(found.pre_activations(X)), expected > np.exp(numbers(logarithms)))

    (tmp_path / "b").mkdir()
    torch.save(PARTS, tmp_path / "b" / "sae.pt")
    (tmp_path / "b" / "cfg.json").write_text('{"architecture": "topk", "k": 2, "rescale_acts_by_decoder_norm": true}')
    lengths = np.linalg.norm(numbers(PARTS["W_dec"]), axis=1)
    found = read_sparse_autoencoder(tmp_path / "b" / "sae.pt")
    np.testing.assert_allclose(found.pre_activations(X), hidden(numbers(X)) * lengths, atol=1e-5)


def test_files_of_vit_prisma(tmp_path: Path) -> None:
    """As `VisionModelSAERunnerConfig.save_config` and `SparseAutoencoder.save_model` write them."""
    config = {
        "architecture": "standard", "activation_fn_str": "relu", "activation_fn_kwargs": {}, "d_in": 6, "d_sae": 10,
        "normalize_activations": "layer_norm", "hook_point_layer": 9, "layer_subtype": "hook_resid_post",
        "cls_token_only": False, "use_patches_only": True, "is_transcoder": False, "dtype": {"__type__": "torch.dtype"},
    }  # fmt: skip
    torch.save({"cfg": Path("something pickled"), "state_dict": PARTS}, tmp_path / "weights.pt")
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = read_sparse_autoencoder(tmp_path / "weights.pt")
    centred = numbers(X) - numbers(X).mean(1, keepdims=True)
    expected = hidden(centred / (centred.std(1, ddof=1, keepdims=True) + 1e-5))
    np.testing.assert_allclose(found.pre_activations(X), expected, atol=1e-4)
    assert (found.hook_point, found.tokens) == ("blocks.9.hook_resid_post", (1, None))
    (tmp_path / "config.json").write_text(json.dumps(config | {"cls_token_only": True, "activation_fn_str": "topk"}))
    with pytest.raises(CheckpointError, match="whose settings need a number k, not None"):
        read_sparse_autoencoder(tmp_path / "weights.pt")  # the settings were changed, and are read again
    (tmp_path / "config.json").write_text(json.dumps(config | {"cls_token_only": True}))
    assert read_sparse_autoencoder(tmp_path / "weights.pt").tokens == (0, 1)


ENCODER = {"weight": noise(10, 6, seed=1), "bias": noise(10, seed=2)}
DICTIONARY = {"dictionary._weights": noise(10, 6, seed=3), "dictionary.multiplier": torch.tensor(0.3)}
BATCH_NORM = {
    "weight": noise(10, seed=4), "bias": noise(10, seed=5), "running_mean": noise(10, seed=6),
    "running_var": noise(10, seed=7).abs() + 0.1, "num_batches_tracked": torch.tensor(3),
}  # fmt: skip


def named(prefix: str, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": part for name, part in parts.items()}


@pytest.mark.parametrize("kind", ["linear", "batch norm", "untied", "tied", "archetypal", "jump"])
def test_files_of_overcomplete(tmp_path: Path, kind: str) -> None:
    """Names as in the state dicts of Overcomplete 0.3.0, with which the reader was compared too."""
    state, pre_codes = named("encoder.final_block.0.", ENCODER) | DICTIONARY, F.linear(X, **ENCODER)
    dictionary = DICTIONARY["dictionary._weights"] * torch.tensor(0.3).exp()
    if kind == "batch norm":
        state |= named("encoder.final_block.1.", BATCH_NORM)
        mean, variance, *scale = (BATCH_NORM[name] for name in ("running_mean", "running_var", "weight", "bias"))
        pre_codes = F.batch_norm(pre_codes, mean, variance, *scale)
    elif kind == "untied":
        state, pre_codes = {"encoder.weight": ENCODER["weight"], **DICTIONARY}, F.linear(X, ENCODER["weight"])
    elif kind == "tied":
        state = {"encoder.bias": ENCODER["bias"], **DICTIONARY}
        state |= {name.replace("dictionary", "encoder.tied_to"): part.clone() for name, part in DICTIONARY.items()}
        pre_codes = X @ dictionary.T + ENCODER["bias"]
    elif kind == "archetypal":
        parts = {"W": noise(10, 20, seed=8).relu(), "C": noise(20, 6, seed=9), "Relax": noise(10, 6, seed=10)}
        dictionary = (parts["W"] @ parts["C"] + parts["Relax"]) * torch.tensor(0.3).exp()
        state = {**state, **named("dictionary.", parts)}
        del state["dictionary._weights"]
    elif kind == "jump":
        state["thresholds"] = noise(10, seed=11) - 1
    torch.save(state, tmp_path / "sae.pth")
    found = read_sparse_autoencoder(tmp_path / "sae.pth")
    torch.testing.assert_close(found.pre_activations(X), pre_codes)
    torch.testing.assert_close(found.decoder, dictionary)
    assert found.layer is None
    if kind == "jump":
        torch.testing.assert_close(found.active(pre_codes), pre_codes > state["thresholds"].exp())
    else:
        with pytest.raises(CheckpointError, match="does not say which nonlinearity"):
            found.active(pre_codes)


def test_the_digest_is_that_of_what_is_used(tmp_path: Path) -> None:
    def digest(name: str, parts: dict[str, Tensor] = PARTS, **settings: str) -> str:
        save_file(parts, tmp_path / name, OWN | settings)
        return read_sparse_autoencoder(tmp_path / name).digest

    first = digest("a.safetensors")
    assert first == digest("b.safetensors", note="of no effect")
    others = [
        digest(f"{n}.safetensors", **{name: value}) for n, (name, value) in enumerate([("k", "4"), ("layer", "x")])
    ]
    others += [digest("2.safetensors", PARTS | {name: part + 1e-3}) for name, part in PARTS.items()]
    assert len({first, *others}) == 7
    assert digest("a.safetensors", k="4") == others[0]  # written over


def test_equal_channels_have_a_finite_gradient() -> None:
    for kind in ("layer_norm", "constant_norm_rescale"):
        for value in (0.0, 2.0):
            x = torch.full((3, 6), value, requires_grad=True)
            (gradient,) = torch.autograd.grad(normalize(x, kind).square().sum(), x)
            assert gradient.isfinite().all()


WRONG: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "network": ({"fc.weight": X}, OWN, "is no sparse autoencoder: it has neither W_enc.* but fc.weight"),
    "nan": (PARTS | {"b_enc": torch.full((10,), torch.nan)}, OWN, "its b_enc that are NaN or infinite"),
    "infinite": (PARTS | {"W_dec": PARTS["W_dec"] / 0}, OWN, "its W_dec that are NaN or infinite"),
    "transposed": (
        PARTS | {"W_dec": PARTS["W_enc"].clone()},
        OWN,
        r"its W_dec is float32 \(6, 10\), and has to be .* \(10, 6\)",
    ),
    "vector": ({"W_enc": X[0]}, OWN, r"its W_enc has the shape \(6,\), and a matrix is needed"),
    "missing": ({"W_enc": PARTS["W_enc"]}, OWN, "its b_enc is missing"),
    "whole": (PARTS | {"b_dec": torch.ones(6, dtype=torch.int64)}, OWN, "b_dec is int64"),
    "gate": (PARTS | {"b_gate": X[0]}, OWN, "of a kind that is not read: it also has b_gate"),
    "threshold": (PARTS, {"architecture": "jumprelu"}, "its threshold is missing"),
    "gated": (PARTS, {"architecture": "gated"}, "of the kind 'gated'; topk, relu, jumprelu are read"),
    "no k": (PARTS, {"architecture": "topk"}, "need a number k, not None"),
    "large k": (PARTS, OWN | {"k": "11"}, "has 10 latents, and settings with k=11"),
    "long k": (PARTS, OWN | {"k": "9" * 5000}, "need a number k"),
    "scaled": (
        PARTS,
        OWN | {"normalize_activations": "expected_average_only_in"},
        "needs a scale that is not in the file",
    ),
    "unknown": (PARTS, OWN | {"normalize_activations": "x"}, "'x', which is not known; none, layer_norm"),
    "no settings": (PARTS, {}, "does not say how its input is normalised: put its cfg.json"),
    "matching pursuit": (DICTIONARY, {}, "its encoder.final_block.0.weight is missing"),
    "layer norm": (
        named("encoder.final_block.0.", ENCODER) | {"encoder.final_block.1.weight": X[0]} | DICTIONARY,
        {},
        "it also has encoder.final_block.1.weight",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_autoencoder_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    parts, metadata, message = WRONG[name]
    save_file(parts, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CheckpointError, match=message) as told:
        read_sparse_autoencoder(tmp_path / "a.safetensors")
    assert "\n" not in str(told.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pt: No such file"):
        read_sparse_autoencoder(tmp_path / "nowhere.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pickled.pt")
    with pytest.raises(CheckpointError, match=r"it is a torch\.nn\.modules\.linear\.Linear, which is not read"):
        read_sparse_autoencoder(tmp_path / "pickled.pt")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_sparse_autoencoder("null\0.pt")


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, "[]", '{"architecture": "topk", "k": ' + "9" * 5000 + "}", "{}" + " " * 2**20]
)
def test_settings_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    torch.save(PARTS, tmp_path / "sae.pt")
    (tmp_path / "cfg.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"cannot read .*cfg\.json, the settings of sae\.pt: "):
        read_sparse_autoencoder(tmp_path / "sae.pt")
