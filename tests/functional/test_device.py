import torch

from lightning_fv.functional import on_device


def test_a_constant_is_copied_once_for_each_device() -> None:
    constant = torch.arange(3.0)
    assert on_device(constant, torch.device("cpu")) is constant
    copy = on_device(constant, torch.device("meta"))
    assert copy.device.type == "meta"
    assert on_device(constant, torch.device("meta")) is copy
    assert on_device(torch.arange(3.0), torch.device("meta")) is not copy


def test_a_copy_made_in_inference_mode_can_be_used_in_training() -> None:
    with torch.inference_mode():
        copy = on_device(torch.ones(2, requires_grad=False).clone(), torch.device("meta"))
    assert not copy.is_inference()
