from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from msgspec.structs import replace  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from pose_calibration.placement import tensorrt_graph  # noqa: E402
from pose_calibration.plan import Plan  # noqa: E402
from pose_export import networks  # noqa: E402
from pose_export.training.fake_quantised import FakeQuantised, fake_quantise  # noqa: E402
from pose_export.training.partners import Partners  # noqa: E402
from pose_export.training.places import read_places  # noqa: E402
from pose_export.training.qat import exported, quantise  # noqa: E402
from pose_runtime.errors import ExportError, PoseError  # noqa: E402
from roundings import TwoBlocks, graph_of, in_float32, make_exact, pictures, plan_of, run_onnx  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def quantised(network: Any, plan: Plan, outputs: Any = ("maps",), step: int = 8) -> FakeQuantised:
    return quantise(network, plan, "plan.json", outputs=outputs, step=step)(network)


def results(network: Any, x: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        outputs = network(torch.from_numpy(x))
    return [output.numpy() for output in ((outputs,) if isinstance(outputs, torch.Tensor) else outputs)]


def small() -> tuple[Any, tuple[str, ...]]:
    return make_exact(TwoBlocks()).eval(), ("maps",)


class Hourglass(torch.nn.Module):  # type: ignore[misc]
    """Down, up by a transposed convolution without activation, and the sum with what was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 16, 3, 2, padding=1, groups=2)
        self.up, self.head = torch.nn.ConvTranspose2d(16, 8, 4, 2, padding=1, groups=2), torch.nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.stem(x)
        maps: torch.Tensor = self.head(torch.relu(self.up(torch.relu(self.down(fine))) + fine))
        return maps


def hourglass() -> tuple[Any, tuple[str, ...]]:
    return make_exact(Hourglass()).eval(), ("maps",)


def lightweight_tiny() -> tuple[Any, tuple[str, ...]]:
    entry = networks.find("lightweight-tiny")
    return make_exact(networks.build(entry)), entry.outputs


@pytest.mark.parametrize(
    ("build", "heads", "divide"),
    [(small, False, False), (small, True, True), (hourglass, True, True), (lightweight_tiny, True, True)],
)
def test_it_computes_what_the_graph_does(build: Any, heads: bool, divide: bool) -> None:
    """To the last bit, with weights and scales that leave float32 nothing to round, and some values out of range.

    Heads that are not INT8 sum what was not rounded before: there the last bit may differ.
    """
    network, outputs = build()
    x = pictures()
    plan = plan_of(network, outputs, x, heads=heads, powers_of_2=True, divide=divide)
    assert any(any(e) for e in plan.exponents.values()) == divide
    graph = in_float32(graph_of(network, outputs, plan))
    wanted, plain = run_onnx(graph, x), results(network, x)
    got = results(quantised(network, plan, outputs, step=32), x)
    for name, a, b, c in zip(outputs, got, wanted, plain, strict=True):
        largest = np.abs(c).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=0 if heads else 1e-6 * largest, err_msg=name)
        assert np.abs(b - c).max() > 3e-3 * largest, name  # rounding was to be seen


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Conv2d(3, 12, 3, padding=1, bias=False),
        torch.nn.Conv2d(3, 12, 3, 2, groups=3),
        torch.nn.ConvTranspose2d(3, 12, 4, 2, padding=1, bias=False),  # by phases
        torch.nn.ConvTranspose2d(3, 12, (4, 5), 2, padding=(1, 2), output_padding=(0, 1), groups=3),
        torch.nn.ConvTranspose2d(3, 12, 3, 2, padding=1),  # of odd size: stays as it is
    ],
    ids=lambda layer: str(layer).replace(", bias=False", ""),
)
def test_batch_norms_of_any_numbers_are_folded_as_the_export_does(layer: Any) -> None:
    """One layer, since behind it other orders of summation decide which integer a value halfway between two becomes."""
    norm = torch.nn.BatchNorm2d(12, eps=1e-3)
    network = torch.nn.Sequential(layer, norm, torch.nn.ReLU(inplace=True)).eval()
    layer.reset_parameters()
    for values, least in ((norm.weight, -2), (norm.bias, -1), (norm.running_mean, -1), (norm.running_var, 0.01)):
        assert values is not None
        values.data.uniform_(least, 2)
    norm.weight.data[2:4] = torch.tensor([0.0, 1e-6])  # channels that are dead: the scale has a floor
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64), dtype=np.float32)
    plan = plan_of(network, ("maps",), x, wide=0.9, heads=True)
    graph = graph_of(network, ("maps",), plan)
    got, plain = results(quantised(network, plan), x)[0], results(network, x)[0]
    np.testing.assert_allclose(got, run_onnx(in_float32(graph), x)[0], rtol=0, atol=2e-3)  # biases are FP16
    assert np.abs(got - plain).max() > 0.05


def test_integers_are_those_of_onnx() -> None:
    """Half to even, saturated at -128 and 127; the gradient passes inside of that."""
    scale = 0.25
    x = torch.tensor([-40.0, -32.1, -32.0, -0.375, -0.125, 0.0, 0.125, 0.13, 0.375, 31.75, 31.8], requires_grad=True)
    y = fake_quantise(x, scale)
    y.sum().backward()
    twice = fake_quantise(torch.stack((x, 2 * x)).detach()[None], scale, (0, 1))  # the second channel over 2^1
    assert torch.equal(twice[0], torch.stack((y, 2 * y)))
    assert (y / scale).tolist() == [-128, -128, -128, -2, 0, 0, 0, 1, 2, 127, 127]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]


def test_weights_are_those_of_the_plain_network_and_all_learn() -> None:
    network, outputs = small()
    network.load_state_dict(TwoBlocks().state_dict())  # plain random ones
    names = list(network.state_dict())
    running = quantised(network, plan_of(network, outputs, pictures(), heads=True), outputs).train()
    assert list(network.state_dict()) == names
    assert list(running.parameters()) == list(network.parameters())
    before = {name: value.clone() for name, value in network.state_dict().items() if "running" in name}
    maps, fine = running(torch.from_numpy(pictures(2)))  # more than in evaluation mode, where `fine` is not returned
    (maps.square().mean() + fine.mean()).backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in network.parameters())
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    assert network.blocks.training
    assert not any(m.training for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_a_copy_runs_with_its_own_weights() -> None:
    network, outputs = small()
    wrap = quantise(network, plan_of(network, outputs, pictures()), "plan", outputs=outputs, step=8)
    other = TwoBlocks().eval()
    assert not np.array_equal(results(wrap(other), pictures())[0], results(wrap(network), pictures())[0])
    with torch.no_grad():
        network.load_state_dict(other.state_dict())
    network.blocks[0].bn1.eps = other.blocks[0].bn1.eps
    for a, b in zip(network.modules(), other.modules(), strict=True):
        if isinstance(a, torch.nn.BatchNorm2d):
            a.eps = b.eps
    np.testing.assert_array_equal(results(wrap(other), pictures())[0], results(wrap(network), pictures())[0])


def test_it_regains_what_coarse_ranges_lose() -> None:
    """Ranges sixteen times too wide leave some four bits: more plain training does not help, QAT does."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Conv2d(16, 1, 3, padding=1),
    )  # fmt: skip
    x = torch.from_numpy(pictures(4, side=16))
    wanted = (x[:, :1] * x[:, 1:2]).clamp(-1, 1)
    error(network, x, wanted, steps=120)
    plan = plan_of(network.eval(), ("maps",), pictures(side=64), wide=16.0, heads=True)
    after = quantised(network, plan)
    before = error(after, x, wanted, steps=0)
    plain, trained = copy.deepcopy(network), copy.deepcopy(network)
    error(plain, x, wanted, steps=150)
    wrap = quantise(network, plan, "plan", outputs=("maps",), step=8)
    error(wrap(trained), x, wanted, steps=150)
    left, control = (error(wrap(one), x, wanted, steps=0) for one in (trained, plain))
    assert left < 0.6 * min(before, control)


def error(network: Any, x: Any, wanted: Any, *, steps: int) -> float:
    """Mean square after some steps of Adam."""
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        (network(x) - wanted).square().mean().backward()
        optimiser.step()
    with torch.inference_mode():
        return float((network(x) - wanted).square().mean())


# ---- what is read from a Q/DQ graph --------------------------------------------------------------------------------


def test_each_place_is_read_once() -> None:
    """Of the graph's own nodes: every Q/DQ pair with all its readers, every layer with int8 weights."""
    network, outputs = small()
    plan = plan_of(network, outputs, pictures(), heads=True)
    model = exported(network, outputs, 64)
    graph = tensorrt_graph(model, plan)
    places = read_places(model, graph)
    assert set(places.weights) == set(plan.int8)
    stored = {tensor.name for tensor in graph.graph.initializer}
    pairs = {n.output[0] for n in graph.graph.node if n.op_type == "DequantizeLinear" and n.input[0] not in stored}
    readings = sum(name in pairs for n in graph.graph.node for name in n.input if n.op_type != "DepthToSpace")
    assert len(places.activations) == readings > len(pairs)
    assert {place.tensor for place in places.activations} <= set(plan.ranges)


def test_a_tensor_rounded_twice_is_told_so() -> None:
    """image -> Q 0.5 -> DQ -> Q 0.25 -> DQ -> Relu -> maps, FP16 but for the ends."""
    model = helper.make_model(helper.make_graph(
        [helper.make_node("Relu", ["image"], ["maps"])], "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 3, 8, 8])],
    ))  # fmt: skip
    quantised = helper.make_model(helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("QuantizeLinear", ["half", "a", "z"], ["q1"]),
            helper.make_node("DequantizeLinear", ["q1", "a", "z"], ["d1"]),
            helper.make_node("QuantizeLinear", ["d1", "b", "z"], ["q2"]),
            helper.make_node("DequantizeLinear", ["q2", "b", "z"], ["d2"]),
            helper.make_node("Relu", ["d2"], ["maps/fp16"]),
            helper.make_node("Cast", ["maps/fp16"], ["maps"], to=TensorProto.FLOAT),
        ], "g", model.graph.input, model.graph.output,
        [numpy_helper.from_array(np.float16(v), n) for n, v in (("a", 0.5), ("b", 0.25))]
        + [numpy_helper.from_array(np.int8(0), "z")],
    ))  # fmt: skip
    places = read_places(model, quantised)
    assert places.weights == {}
    (place,) = places.activations
    assert (place.tensor, place.reader, place.scales) == ("image", "maps", (0.5, 0.25))
    quantised.graph.node[1].op_type = "Neg"
    with pytest.raises(ExportError, match="rounds 'q1', which is no tensor of the network"):
        read_places(model, quantised)


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def test_plans_of_other_networks_are_refused() -> None:
    network, outputs = small()
    plan = plan_of(network, outputs, pictures())
    for wrong in ({"int8": (*plan.int8, "nobody")}, {"ranges": {**plan.ranges, "nobody": (-1.0, 1.0)}}):
        with pytest.raises(ExportError, match=r"plan\.json: no tensor 'nobody' in the exported network"):
            quantised(network, replace(plan, **wrong))
    with pytest.raises(ExportError, match=r"plan\.json: its exponents are not of this network"):
        quantised(network, replace(plan, exponents={plan.int8[0]: (1, 2, 3)}))
    with pytest.raises(PoseError, match="has no constant weights"):
        quantised(network, replace(plan, int8=(*plan.int8, next(n for n in plan.ranges if "Relu" in n))))
    with pytest.raises(ExportError, match=r"plan\.json: makes no layer of the network INT8"):
        quantised(network, replace(plan, int8=()))


def test_a_tensor_that_no_step_computes_is_named() -> None:
    network, outputs = small()
    model = exported(network, outputs, 64)
    tensor = model.graph.node[-1].output[0]
    other = TwoBlocks().eval()
    partners = Partners(other, torch.fx.Tracer().trace(other), model, [tensor])
    with pytest.raises(ExportError, match=f"the plan rounds '{tensor}', which no step of the PyTorch network computes"):
        partners.of(tensor)


def test_a_transposed_convolution_with_one_scale_for_all_groups_is_refused() -> None:
    network = torch.nn.Sequential(torch.nn.ConvTranspose2d(4, 4, 3, 2, padding=1, groups=2)).eval()
    network.insert(0, torch.nn.Conv2d(3, 4, 1))
    with pytest.raises(ExportError, match="the plan gives 2 scales to the weights of 'maps'; --qat cannot"):
        quantised(network.eval(), plan_of(network, ("maps",), pictures(), heads=True))


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Choosing(TwoBlocks):
        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x if float(x.sum()) > -1e9 else x + 1)

    network = make_exact(Choosing()).eval()
    with pytest.raises(ExportError, match=r"torch\.fx cannot trace the network, which --qat needs"):
        quantised(network, plan_of(network, ("maps",), pictures()))
