import torch

from lightning_fv.functional import constant, on_device


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


def test_numbers_are_made_once_for_each_device_and_type() -> None:
    cpu, meta = torch.device("cpu"), torch.device("meta")
    assert constant((1, 2), cpu, torch.long) is constant((1, 2), cpu, torch.long)
    for dtype in (torch.long, torch.float32):  # equal numbers of another type are the same key
        assert torch.equal(constant(((1, 2), (3, 4)), cpu, dtype), torch.tensor([[1, 2], [3, 4]], dtype=dtype))
        assert constant(((1.0, 2.0), (3.0, 4.0)), cpu, dtype).dtype == dtype
    assert constant((1, 2), meta, torch.long).device == meta
    with torch.inference_mode():
        made = constant((5.0, 6.0), cpu, torch.float32)
    assert not made.is_inference()
