import pytest

from lightning_fv.errors import TargetError
from lightning_fv.networks import load_network
from lightning_fv.objectives import Token
from lightning_fv.targets import resolve_targets


def test_a_target_of_a_transformer() -> None:
    network = load_network("demo/vit")
    (target,) = resolve_targets("blocks.3:5@63", network)
    assert target.objective == Token("blocks.3", 5, 63)
    for text, said in (
        ("blocks.3:5@64", "blocks.3 has tokens 0 to 63"),
        ("blocks.3:5@1,2", "a sequence: write @TOKEN"),
        ("embed:5@1", "a map: write @Y,X"),
        ("logits:5@1", "leave out the @"),
    ):
        with pytest.raises(TargetError, match=said):
            resolve_targets(text, network)
