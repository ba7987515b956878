import pytest
import torch
from torch import nn

from lightning_fv.networks.vit import Attention, DemoViT


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.in_proj_weight.data.copy_(ours.qkv.weight.data)
    theirs.in_proj_bias.data.copy_(ours.qkv.bias.data)
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


def test_each_head_is_a_layer() -> None:
    torch.manual_seed(0)
    attention, found = Attention(16, 4), {}
    for number, head in enumerate(attention.heads):
        head.register_forward_hook(lambda _, __, output, number=number: found.update({number: output}))
    x = torch.randn(2, 5, 16)
    out = attention(x)
    assert [found[number].shape for number in range(4)] == [(2, 5, 4)] * 4
    torch.testing.assert_close(out, attention.out(torch.cat([found[number] for number in range(4)], 2)))


@pytest.mark.parametrize(("size", "tokens"), [((64, 64), 64), ((8, 24), 3), ((60, 33), 40)])
def test_pictures_of_any_size(size: tuple[int, int], tokens: int) -> None:
    network, shapes = DemoViT(7).eval(), []
    network.blocks[3].register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    assert network(torch.rand(2, 3, *size)).shape == (2, 7)
    assert shapes == [(2, tokens, 128)]


def test_tokens_have_places() -> None:
    """Attention alone would not notice that two patches are exchanged."""
    network = DemoViT(7).eval()
    x = torch.rand(1, 3, 16, 16)
    exchanged = torch.cat([x[..., 8:], x[..., :8]], 3)
    assert not torch.allclose(network(x), network(exchanged), atol=1e-5)


def test_patches_are_dropped_in_training_only() -> None:
    network, counts = DemoViT(7), []
    network.keep = 0.25
    network.blocks[0].register_forward_hook(lambda _, __, output: counts.append(output.shape[1]))
    network.train()(torch.rand(1, 3, 64, 64))
    network.eval()(torch.rand(1, 3, 64, 64))
    assert counts == [16, 64]
