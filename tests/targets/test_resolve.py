"""Targets against a network: what they become, and what is said when they do not exist."""

import string
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_fv import render
from lightning_fv.errors import CaptureError, LayerNotFoundError, TargetError
from lightning_fv.networks import VisionNetwork
from lightning_fv.objectives import Channel, Facets, Function, Layer, Logit, Neuron, Objective, Probability
from lightning_fv.objectives.base import Activations
from lightning_fv.targets import Target, resolve_targets


class Odd(nn.Module):
    """Layers that trap: one that runs twice, one that never runs, one that gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.relu = nn.ReLU()
        self.aux = nn.Conv2d(3, 4, 1)
        self.gru = nn.GRU(4, 4)
        self.Conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.Conv(self.relu(self.conv(x))))
        return self.gru(x.mean((2, 3)))[0]


NAMES = ("pizza", "Pizza", "drake", "drake", "../../etc/passwd", "<script>alert(1)</script>", "x" * 300, "7 up", "a,b")


@pytest.fixture
def network() -> VisionNetwork:
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("body", nn.Conv2d(3, 6, 3, stride=2))
    module.add_module("pool", nn.AdaptiveAvgPool2d(1))
    module.add_module("flat", nn.Flatten())
    module.add_module("head", nn.Linear(6, len(NAMES)))
    return VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(21, 33), categories=NAMES)


@pytest.mark.parametrize(
    ("text", "objectives"),
    [
        ("logits:3", [Logit(3)]),
        ("logits:0-2", [Logit(0), Logit(1), Logit(2)]),
        ("logits:7 up", [Logit(7)]),
        ("logits:a,b", [Logit(8)]),
        ("probability:PIZZA+logits:1", None),
        ("probability:6", [Probability(6)]),
        ("body:1,4", [Channel("body", 1), Channel("body", 4)]),
        ("body", [Layer("body")]),
        ("body:2@9,15", [Neuron("body", 2, 9, 15, of=(10, 16))]),
        ("head:2", [Channel("head", 2)]),
        (["logits:2", "body:0-5"], [Logit(2), *(Channel("body", i) for i in range(6))]),
        ("body:last", [Channel("body", 5)]),
        ("logits:brambling|pizza", [Logit(0)]),
        ("probability:brambling | 7 up|pizza", [Probability(7)]),
        ("logits:all", [Logit(i) for i in range(9)]),
        ("logits:pizza,7 up", [Logit(0), Logit(7)]),
        ("logits:pizza, 3 ,a,b,7 UP", [Logit(0), Logit(3), Logit(8), Logit(7)]),
        ("probability:a,b,pizza", [Probability(8), Probability(0)]),
        ("logits:4-6,pizza,last,5-7", [Logit(4), Logit(5), Logit(6), Logit(0), Logit(8), Logit(7)]),
        ("logits:brambling|7 up,pizza", [Logit(7), Logit(0)]),
        ("body:1 - 3,1", [Channel("body", 1), Channel("body", 2), Channel("body", 3)]),
        ("body:1+body:1+body:1", [Channel("body", 1)]),
    ],
)
def test_what_is_written_is_what_is_maximised(
    network: VisionNetwork, text: str, objectives: list[object] | None
) -> None:
    if objectives is None:
        with pytest.raises(TargetError, match=r"2 classes are called 'PIZZA'; give an index: 0, 1"):
            resolve_targets(text, network)
    else:
        assert [target.objective for target in resolve_targets(text, network)] == objectives


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("logits:pizzza", TargetError, r"did you mean Pizza|did you mean pizza"),
        ("logits:drake", TargetError, "2 classes are called 'drake'; give an index: 2, 3"),
        ("logits:9", TargetError, "units 0 to 8"),
        ("logits:5-2", TargetError, "write 2-5"),
        ("logits:-1", TargetError, "units 0 to 8"),
        ("bodi:1", LayerNotFoundError, "did you mean body"),
        ("body:6", TargetError, "units 0 to 5"),
        ("body:blue", TargetError, "units 0 to 5"),
        ("body:1 #2", TargetError, r"'body:1 #2' is one of several pictures; write body:1 x2"),
        ("logits:pizza #2", TargetError, r"'logits:pizza #2' is one of several pictures; write logits:pizza x2"),
        ("body:1@10,0", TargetError, "rows 0 to 9 and columns 0 to 15"),
        ("head:1@0,0", TargetError, "without rows and columns; leave out the @"),
        ("probability", TargetError, "names no class"),
        ("probabilty:1", LayerNotFoundError, "did you mean probability"),
        ("pizza", TargetError, "no layer 'pizza' in the network, but a class; did you mean logits:pizza"),
        ("logits:pizza,7 upp", TargetError, r"no class '7 upp'; did you mean 7 up \(7\)"),
        ("logits:pizza,drake", TargetError, "2 classes are called 'drake'; give an index: 2, 3"),
        ("logits:²", TargetError, "no class '²'"),
        ("logits:٣", TargetError, "no class '٣'"),
        ("body:٣", TargetError, "units 0 to 5"),
        ("body:1-²", TargetError, "units 0 to 5"),
        ("body#²:1", CaptureError, "cannot read the layer 'body#²'"),
        ("body:0-999999999999", TargetError, "units 0 to 5"),
        ("body:" + "9" * 5000, TargetError, "units 0 to 5"),
        ("body:1-" + "9" * 5000, TargetError, "units 0 to 5"),
        ("body#" + "9" * 5000, CaptureError, "cannot read the layer"),
        ("body:\x00", TargetError, r"'body:\\x00': body has units 0 to 5"),
        ("\x1b[31mbody", CaptureError, r"cannot read the layer '\\x1b\[31mbody'"),
        ("body.*:1", LayerNotFoundError, "did you mean body"),
        ("b" * 100_000, LayerNotFoundError, "no layer 'bbb"),
        ("logits:" + "b" * 100_000, TargetError, "no class 'bbb"),
    ],
)
def test_what_does_not_exist_is_said(network: VisionNetwork, text: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told) as caught:
        resolve_targets(text, network)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


def test_names_of_classes_that_are_not_known(network: VisionNetwork) -> None:
    network.categories = ()
    for kind in ("logits", "probability"):
        told = rf"'{kind}:cat': the names of this network's classes are not known; give them \(--categories .* an index, {kind}:0 to {kind}:8"
        with pytest.raises(TargetError, match=told):
            resolve_targets(f"{kind}:cat", network)
    with pytest.raises(TargetError, match="'logits:9': logits has units 0 to 8"):
        resolve_targets("logits:9", network)


@pytest.mark.parametrize(
    ("targets", "texts"),
    [
        ("body:1 x2", ["body:1 #1", "body:1 #2"]),
        ("body:1 x1", ["body:1"]),
        ("body:1,4 x2+head:2", ["body:1 #1", "body:1 #2", "body:4 #1", "body:4 #2", "head:2"]),
        ("body:2@9,15 x2+body x2", ["body:2@9,15 #1", "body:2@9,15 #2", "body #1", "body #2"]),
        ("logits:7 x2+body:0+logits:7 up x3+logits:7", ["logits:7 up #1", "logits:7 up #2", "logits:7 up #3", "body:0"]),
        ([Facets(Channel("body", 1) - Layer("head"), 2), Channel("body", 1) - Layer("head")],
         ["Channel('body', 1) - Layer('head') #1", "Channel('body', 1) - Layer('head') #2"]),
        (Facets(Logit(7), 1), ["logits:7 up"]),
    ],
)  # fmt: skip
def test_several_pictures_of_a_unit_stand_together(network: VisionNetwork, targets: object, texts: list[str]) -> None:
    found = resolve_targets(targets, network)  # type: ignore[arg-type]
    assert [target.text for target in found] == texts
    assert len({target.id for target in found}) == len({target.key for target in found}) == len(texts)
    again = resolve_targets(found, network)
    assert again == found  # Targets stand for all pictures of their objective


def test_a_class_may_be_called_as_if_it_had_several_pictures() -> None:
    names = ("BMW", "BMW X5", "a x2")
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    cars = VisionNetwork(module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(8, 8), categories=names)

    def texts(targets: str) -> list[str]:
        return [target.text for target in resolve_targets(targets, cars)]

    assert texts("logits:BMW X5") == texts("logits:bmw x5") == ["logits:BMW X5"]
    assert texts("logits:BMW,bmw x5") == ["logits:BMW", "logits:BMW X5"]
    assert texts("logits:audi|bmw x5") == ["logits:BMW X5"]
    assert texts("logits:bmw x5 x2") == ["logits:BMW X5 #1", "logits:BMW X5 #2"]
    assert texts("logits:BMW x2") == ["logits:BMW #1", "logits:BMW #2"]  # no class ends in "a x2" here
    assert texts("logits:0-1 x2")[::2] == ["logits:BMW #1", "logits:BMW X5 #1"]


def test_many_targets_take_little_time(network: VisionNetwork) -> None:
    start = time.process_time()
    assert len(resolve_targets("+".join(f"body:{number % 6}" for number in range(20_000)), network)) == 6
    assert len(resolve_targets("logits:" + ",".join(f"{number % 9}" for number in range(20_000)), network)) == 9
    assert time.process_time() - start < 2


def test_layers_that_trap() -> None:
    odd = VisionNetwork(Odd(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(21, 33))
    with pytest.raises(CaptureError, match=r"relu' runs 2 times; choose one: relu#0 to relu#1"):
        resolve_targets("relu:1", odd)
    with pytest.raises(CaptureError, match=r"relu runs 2 times, #0 to #1"):
        resolve_targets("relu#2:1", odd)
    with pytest.raises(CaptureError, match="aux' did not run"):
        resolve_targets("aux:1", odd)
    with pytest.raises(CaptureError, match="gru' does not output a single tensor"):
        resolve_targets("gru:1", odd)
    assert resolve_targets("relu#1:3", odd)[0].text == "relu#1:3"


def test_name_and_index_and_objective_are_one_target(network: VisionNetwork) -> None:
    (one,) = resolve_targets(["logits:7+logits:7 up", Logit(7), resolve_targets("logits:7", network)[0]], network)
    assert (one.text, one.id, one.tag, one.class_index) == ("logits:7 up", "logits-0007-7-up", "logits/7 up", 7)
    texts = ["probability:6", "body:3", "body", "body:3@1,2"]
    same = [Probability(6), Channel("body", 3), Layer("body"), Neuron("body", 3, 1, 2, of=(10, 16))]
    assert resolve_targets(texts, network) == resolve_targets(same, network) == resolve_targets(same + texts, network)


@pytest.mark.parametrize("size", [(21, 33), (12, 12), (60, 60)])
def test_a_neuron_is_named_by_its_place_at_the_training_size(network: VisionNetwork, size: tuple[int, int]) -> None:
    (target,) = resolve_targets("body:2@9,15", network, size)
    assert target.objective == Neuron("body", 2, 9, 15, of=(10, 16))
    assert target.text == "body:2@9,15"
    with pytest.raises(TargetError, match="rows 0 to 9 and columns 0 to 15 at the network's training size of 21x33 px"):
        resolve_targets("body:2@10,0", network, size)


def test_a_fixed_and_a_relative_position_are_not_one_target(network: VisionNetwork) -> None:
    with pytest.raises(TargetError, match=r"different objectives have the same key neuron:body:3:\(1, 2\)"):
        resolve_targets(["body:3@1,2", Neuron("body", 3, 1, 2)], network)
    named = Function(Neuron("body", 3, 1, 2), name="fixed")
    assert len(resolve_targets(["body:3@1,2", named], network)) == 2


def test_ids_are_unique_and_safe_for_every_file_system(network: VisionNetwork) -> None:
    odd = VisionNetwork(Odd(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(21, 33))
    targets = resolve_targets("logits:all+probability:4+body:0-5+body+body:1@0,1+body:1@1,0", network)
    targets += resolve_targets("conv:0+Conv:0+relu#0:1+relu#1:1", odd)
    targets += resolve_targets(Logit(1) - 0.5 * Channel("body", 3), network)
    ids = [target.id for target in targets]
    assert len({name.lower() for name in ids}) == len(ids)
    for name in ids:
        assert set(name) <= set(string.ascii_letters + string.digits + "._-")
        assert len(name) < 200
        assert name[0] not in ".-"
        assert name.split(".")[0].lower() not in {"con", "aux", "nul", "prn"}
    assert resolve_targets("logits:0", network)[0].id == "logits-0000-pizza"


def test_compositions_keep_their_identity(network: VisionNetwork) -> None:
    (target,) = resolve_targets([Logit(1) - 0.5 * Channel("body", 3)], network)
    assert target.key == target.text == "Logit(1) - 0.5 * Channel('body', 3)"
    assert target.id == "objective-Logit-1---0.5-Channel-body-3-a5708987"
    assert target.tag == f"objective/{target.text}"
    assert target.class_index is None


class Own(Objective):
    """Its repr does not show its state."""

    layers = frozenset(("body",))

    def __init__(self, power: int, repr_: str = "Own()") -> None:
        self.power, self.repr_ = power, repr_

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return activations["body"].flatten(1).mean(1) ** self.power

    def __repr__(self) -> str:
        return self.repr_


def mean(activations: Activations, images: Tensor) -> Tensor:
    return activations["body"].mean((1, 2, 3))


def other_mean(activations: Activations, images: Tensor) -> Tensor:
    return activations["body"].square().mean((1, 2, 3))


def test_two_objectives_never_become_one_target(network: VisionNetwork) -> None:
    assert len(resolve_targets([Own(2), Own(2), Function(mean, ["body"]), Function(mean, ["body"])], network)) == 2
    assert len(resolve_targets([Own(2), Function(Own(3), name="cubed")], network)) == 2
    functions = [Function(fn, ["body"], name="mean") for fn in (mean, other_mean)]
    for pair in ([Own(2), Own(3)], functions, [Own(2) + Logit(1), Own(3) + Logit(1)]):
        with pytest.raises(
            TargetError, match=r"^two different objectives have the same key .* name them: Function"
        ) as caught:
            resolve_targets(pair, network)
        assert len(str(caught.value).splitlines()) == 1


def test_two_targets_never_share_a_file(network: VisionNetwork) -> None:
    """The hash in a file name has 32 bits: here are two names that collide."""
    met: dict[str, str] = {}
    for number in range(1_000_000):
        own = Own(number, f"Own({'x' * 60}{number})")
        name = Target.of(own).id
        if name in met:
            break
        met[name] = repr(own)
    with pytest.raises(TargetError, match=r"would share the file name objective-own-x+-\w{8}; rename one"):
        resolve_targets([Own(1, met[name]), Own(1, repr(own))], network)


@pytest.mark.parametrize(
    ("objective", "error", "told"),
    [
        (Channel("bodi", 1), LayerNotFoundError, "did you mean body"),
        (Logit(9), TargetError, r"^Logit\(9\) reads what does not exist .* it is given logits \(1, 9\)"),
        (Neuron("body", 1, 10, 0), TargetError, r"reads what does not exist .* body \(1, 6, 10, 16\)"),
        (Logit(1) - Channel("body", 6), TargetError, "reads what does not exist"),
        (Logit((1, 2)), TargetError, "cannot be evaluated for one picture: 2 units for a batch of 1"),
        (Function(mean, ["head"]), TargetError, "reads 'body', which is not among its layers: head"),
        (
            Function(lambda images: images, [], name="x"),
            TargetError,
            "cannot be evaluated for one picture: .* argument",
        ),
        (Function(lambda a, i: i.detach().mean((1, 2, 3)), [], name="x"), TargetError, "no gradient flows back"),
        (Function(lambda a, i: i.mean(), [], name="x"), TargetError, r"returns \(\) for one picture"),
        (Function(lambda a, i: i @ i, [], name="x"), TargetError, "cannot be evaluated for one picture: .*size"),
        (Function(lambda a, i: a.head, [], name="x"), TargetError, "cannot be evaluated for one picture: .* 'head'"),
    ],
    ids=lambda x: repr(x) if isinstance(x, Objective) else "",
)
def test_objectives_are_tried_before_anything_runs(
    network: VisionNetwork, objective: Objective, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        resolve_targets(["logits:0", objective], network)


def test_targets_of_another_network_are_checked_again(network: VisionNetwork) -> None:
    odd = VisionNetwork(Odd(), mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(21, 33))
    with pytest.raises(TargetError, match="reads what does not exist"):
        resolve_targets(resolve_targets("logits:all", network), odd)


def test_many_objectives_share_one_forward_pass(network: VisionNetwork) -> None:
    calls = []
    handle = network.module.body.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr]
    one = [Channel("body", 0)]
    resolve_targets(one, network)
    alone = len(calls)
    resolve_targets([Channel("body", unit) for unit in range(6)], network)
    handle.remove()
    assert len(calls) - alone <= alone


def test_classes_have_names_only_if_there_are_as_many(network: VisionNetwork) -> None:
    few = VisionNetwork(network.module, mean=(0.5,) * 3, std=(0.2,) * 3, input_size=(21, 33), categories=("one", "two"))
    texts = [target.text for target in resolve_targets(["logits:1", Logit(0)], few)]
    assert texts == ["logits:1", "logits:0"]


class Bright(Objective):
    """Says nothing of layers."""

    def __call__(self, activations: Activations, images: Tensor) -> Tensor:
        return images.flatten(1).mean(1)


def test_an_objective_without_layers_reads_none(network: VisionNetwork, tmp_path: Path) -> None:
    assert (Bright() + 1.0).layers == Bright().layers == frozenset()
    targets = [Bright(), Function(mean, ["body"], name="a/b"), Function(mean, ["body"], name="../c")]
    rendering = render(network, targets, steps=1, out=tmp_path / "run", progress=False)
    files = [tmp_path / "run" / str(record.image) for record in rendering.records]
    assert all(file.is_file() and file.parent == tmp_path / "run" / "images" for file in files)
    assert rendering[1].target.text == "Function(name='a/b', layers=('body',))"
