"""Every classification family of torchvision, untrained, so that nothing is downloaded."""

import pytest
import torch
from torchvision.models import get_model_weights

from lightning_fv import load_network
from lightning_fv.errors import CaptureError, CheckpointError, NetworkError
from lightning_fv.networks.download import hash_in_name
from lightning_fv.networks.torchvision import builders
from lightning_fv.objectives import Channel
from lightning_fv.targets import resolve_targets
from tests.networks.matrix import check

QUICK = ("resnet18", "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "googlenet")
SLOW = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "inception_v3", "maxvit_t",
    "mnasnet0_5", "mobilenet_v2", "regnet_x_400mf", "regnet_y_400mf", "resnext50_32x4d", "swin_t", "swin_v2_t",
    "vgg11", "vgg11_bn", "vit_b_16", "wide_resnet50_2",
)  # fmt: skip


@pytest.mark.parametrize("builder", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_family(builder: str) -> None:
    torch.manual_seed(0)
    network = load_network(f"torchvision/{builder}", None)
    assert network.categories[963] == "pizza"
    assert network.mean == (0.485, 0.456, 0.406)
    fixed = network.fixed_size
    size = network.input_size if fixed else {"inception_v3": (139, 107), "alexnet": (95, 79)}.get(builder, (96, 77))
    check(network, size, steps=12)


def test_the_matrix_leaves_no_family_out() -> None:
    def family(name: str) -> str:
        return "".join(c for c in name.split("_")[0] if c.isalpha()).rstrip("x") or name

    assert {family(name) for name in builders()} <= {family(name) for name in (*QUICK, *SLOW)}


def test_swin_and_vit_channels_are_the_last_axis() -> None:
    swin = load_network("torchvision/swin_t", None)
    axes = {info.name: info.axis for info in swin.layers()}
    assert (axes["features.0.0"], axes["features.7"], axes["features.0"]) == (1, 3, 3)
    (target,) = resolve_targets("features.7:767", swin)
    assert target.objective == Channel("features.7", 767)
    with pytest.raises(Exception, match="units 0 to 767"):
        resolve_targets("features.7:768", swin)


@pytest.mark.slow
def test_vit_layers_that_trap() -> None:
    vit = load_network("torchvision/vit_b_16", None)
    block = "encoder.layers.encoder_layer_3"
    assert vit.fixed_size
    assert vit(torch.rand(1, 3, 90, 61)).shape == (1, 1000)
    assert resolve_targets(f"{block}:767", vit)[0].objective.unit == 767
    with pytest.raises(CaptureError, match=r"choose one of its items: .*self_attention\[0\] \(1, 197, 768\)"):
        resolve_targets(f"{block}.self_attention:5", vit)
    assert resolve_targets(f"{block}.self_attention[0]:5", vit)[0].objective.unit == 5
    with pytest.raises(CaptureError, match="did not run"):
        resolve_targets(f"{block}.self_attention.out_proj:5", vit)


def test_layers_before_an_in_place_operation_are_what_they_were() -> None:
    resnet = load_network("torchvision/resnet18", None)
    images = torch.rand(1, 3, 64, 51)
    with torch.no_grad():
        found = resnet.capture(images, ["layer1.0.bn1", "layer1.0.bn2", "logits"])
    assert float(found["layer1.0.bn1"].min()) < 0
    assert float(found["layer1.0.bn2"].min()) < 0


def test_names_and_tags() -> None:
    with pytest.raises(NetworkError, match=r"did you mean resnet50"):
        load_network("torchvision/resnet5O", None)
    with pytest.raises(NetworkError, match="it has IMAGENET1K_V1, IMAGENET1K_V2"):
        load_network("torchvision/resnet50:V3", None)
    assert load_network("torchvision/resnet18:IMAGENET1K_V1", None).name == "torchvision/resnet18:IMAGENET1K_V1"


def test_every_published_file_has_a_hash_and_a_size() -> None:
    entries = [entry for name in builders() for entry in get_model_weights(name)]
    assert len(entries) > 100
    for entry in entries:
        assert len(hash_in_name(entry.url)) >= 8
        assert entry.meta["_file_size"] > 1  # in MiB, private to torchvision


def test_published_weights_from_the_cache_and_offline(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"squeezenet1_1-b8a52dc0\.pth"):
        load_network("torchvision/squeezenet1_1", offline=True)


def test_published_weights_from_a_file(tmp_path: object) -> None:
    untrained = load_network("torchvision/squeezenet1_1", None)
    file = f"{tmp_path}/mine.pth"
    torch.save(untrained.module.state_dict(), file)
    again = load_network("torchvision/squeezenet1_1", file)
    assert again.digest() == untrained.digest()
    with pytest.raises(CheckpointError, match="missing"):
        load_network("torchvision/resnet18", file)
