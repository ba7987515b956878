"""Everything that a tensor in a file can be, and what is not one."""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_fv.errors import CheckpointError
from lightning_fv.networks.weights import read_weights
from tests.helpers import TinyNet


def saved(content: object, old_format: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old_format)
    return file.getvalue()


def every_kind() -> dict[str, Tensor]:
    whole = torch.arange(24.0)
    return {
        "whole": whole.view(2, 3, 4),
        "part of whole": whole[5:9],
        "transposed": whole.view(4, 6).t(),
        "repeated": torch.rand(3, 1).expand(3, 5),
        "scalar": torch.tensor(0.5),
        "empty": torch.zeros(0, 3),
        "half": torch.rand(3).half(),
        "bfloat16": torch.rand(3).bfloat16(),
        "float8": torch.rand(3).to(torch.float8_e4m3fn),
        "double": torch.rand(3).double(),
        "long": torch.tensor(2**40),
        "unsigned": torch.tensor([1, 2**15]).to(torch.uint16),
        "bool": torch.tensor([True, False, True]),
        "complex": torch.rand(3, dtype=torch.complex64),
        "parameter": nn.Parameter(torch.rand(2, 2)),
        "buffer": nn.Buffer(torch.rand(2)),
    }


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("protocol", [2, 5])
def test_every_dense_tensor_is_read_as_torch_reads_it(tmp_path: Path, old_format: bool, protocol: int) -> None:
    path = tmp_path / "net.pth"
    content = every_kind()
    if old_format:  # torch cannot write these
        del content["float8"], content["unsigned"]
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not old_format)
    read = read_weights(path)
    expected = torch.load(path, weights_only=False)
    assert list(read) == list(expected)
    for name, value in expected.items():
        assert type(read[name]) is Tensor
        assert not read[name].requires_grad
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        torch.testing.assert_close(read[name], value.detach().to(dtype), rtol=0, atol=0)


def test_what_stands_beside_the_state_dict_is_not_read(tmp_path: Path) -> None:
    """Settings of a training script, which torch would refuse, and an optimizer's moments."""
    content = {
        "args": argparse.Namespace(lr=0.1, path=Path("a")),
        "optimizer": {"state": {0: {"exp_avg": torch.rand(3)}}, "history": {(1, 2): {3, 4}}},
        "state_dict": TinyNet().state_dict(),
    }
    for old_format in (False, True):
        (tmp_path / "net.pth").write_bytes(saved(content, old_format))
        torch.testing.assert_close(read_weights(tmp_path / "net.pth"), dict(TinyNet().state_dict()), rtol=0, atol=0)


class Own(Tensor):
    pass


OTHERS: dict[str, tuple[Callable[[], object], str]] = {
    "sparse": (lambda: torch.eye(2).to_sparse(), "sparse_tensor"),
    "compressed rows": (lambda: torch.eye(2).to_sparse_csr(), "sparse_tensor"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8), "qtensor"),
    "meta": (lambda: torch.empty(2, device="meta"), "meta_tensor_no_storage"),
    "a subclass": (lambda: torch.rand(2).as_subclass(Own), "torch._tensor._rebuild_from_type_v2"),
    "conjugate": (lambda: torch.rand(2, dtype=torch.complex64).conj(), "tensor of another kind"),
    "numpy": (lambda: torch.rand(2).numpy(), "numpy"),
}


@pytest.mark.filterwarnings("ignore:Sparse|.*quantize_per_tensor")
@pytest.mark.parametrize("kind", OTHERS)
def test_other_tensors_are_named(tmp_path: Path, kind: str) -> None:
    make, named = OTHERS[kind]
    torch.save({"a": torch.rand(2), "w": make()}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"does not hold a dict of tensors \('w': .*which is not read\)") as error:
        read_weights(tmp_path / "net.pth")
    assert named in str(error.value)
