"""From an INT8 plan to a PyTorch network with its roundings (quantisation-aware training, QAT).

A plan speaks of the exported graph. What it rounds, and with which scales, is read from the Q/DQ graph that TensorRT
gets; the steps of the PyTorch network that this falls on are found by their values. So what is trained is what is
deployed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pose_calibration.equalise import equalised
from pose_calibration.graph_stats import load_onnx
from pose_calibration.placement import tensorrt_graph
from pose_calibration.plan import Plan
from pose_export.graph import simplified
from pose_export.to_onnx import export_onnx
from pose_export.training.fake_quantised import Exponents, FakeQuantised, Layer, Roundings, fake_quantise
from pose_export.training.partners import Partners
from pose_export.training.places import Place, Places, read_places
from pose_runtime.errors import ExportError

_PROBE = 64  # height and width, at least, of the picture that steps are recognised by


def quantise(
    network: nn.Module, plan: Plan, name: str, *, outputs: Sequence[str | None], step: int
) -> Callable[[nn.Module], FakeQuantised]:
    """What puts a plan's roundings into a network, or into a copy with other weights.

    Args:
        network: in evaluation mode, as it will be exported.
        plan: of that network's export.
        name: of the plan, for messages.
        outputs: names of its output tensors, as for `export_onnx`.
        step: input width and height must be multiples of this.

    Raises:
        ExportError: the plan names what the network does not have, or `torch.fx` cannot trace the network.
        CalibrationError: the plan does not fit the graph.
    """
    model = exported(network, outputs, -(-_PROBE // step) * step)
    _check(plan, name, model)
    try:
        divided = equalised(model, plan.exponents)
    except ValueError as error:  # NumPy's, where shapes do not fit
        raise ExportError(f"{name}: its exponents are not of this network: {error}") from error
    places = read_places(model, tensorrt_graph(divided, plan))
    if not places.weights:
        raise ExportError(f"{name}: makes no layer of the network INT8; plain training is what it asks for")
    roundings = {mode: _placed(network, model, places, plan.exponents, training=mode) for mode in (True, False)}
    return lambda copy: FakeQuantised(copy, roundings)


def exported(network: nn.Module, outputs: Sequence[str | None], side: int) -> ModelProto:
    """The graph whose tensors a plan names, at this height and width; the names do not depend on them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(
            network, input_name="image", output_names=outputs, size_wh=(side, side), dynamic_batch=False, path=path
        )
        return simplified(load_onnx(path))


def _check(plan: Plan, name: str, model: ModelProto) -> None:
    there = {value.name for value in model.graph.input} | {out for node in model.graph.node for out in node.output}
    for what in (*plan.int8, *plan.ranges, *plan.exponents):
        if what not in there:
            raise ExportError(
                f"{name}: no tensor {what[:200]!r} in the exported network; wanted a plan of this network: calibrate it"
            )


def _placed(
    network: nn.Module, model: ModelProto, places: Places, exponents: Mapping[str, Exponents], *, training: bool
) -> Roundings:
    graph = _traced(network, training=training)
    named = [name for place in places.activations for name in (place.tensor, place.reader)]
    partners = Partners(network, graph, model, [*named, *places.weights])
    modules = dict(network.named_modules())
    nodes = {node.output[0]: node for node in model.graph.node}
    layers = []
    for name, scales in places.weights.items():
        layer = _layer(partners.of(name), modules, name, scales)
        layers.append(replace(layer, read=exponents.get(nodes[name].input[0]), made=exponents.get(name)))
    made: dict[tuple[fx.Node, tuple[float, ...]], fx.Node] = {}
    for place in places.activations:
        reader, source = _edge(partners, place, modules)
        key = source, place.scales
        if key not in made:  # once for all that read it with the same scales
            made[key] = _inserted(graph, source, place.scales, exponents.get(place.tensor))
        reader.replace_input_with(source, made[key])
    graph.lint()
    return Roundings(graph, tuple(layers))


def _traced(network: nn.Module, *, training: bool) -> fx.Graph:
    """The steps of one mode; the network is in evaluation mode afterwards."""
    try:
        return fx.Tracer().trace(network.train(training))
    except Exception as error:  # whatever a forward does with a proxy
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ExportError(f"torch.fx cannot trace the network, which --qat needs: {reason}") from error
    finally:
        network.eval()


def _layer(found: list[fx.Node], modules: dict[str, nn.Module], reader: str, scales: int) -> Layer:
    """The layer whose result, behind its batch norm if it has one, is among the steps."""
    for node in _with_inputs_of_norms(found, modules):
        module = _module(node, modules)
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            users = list(node.users)
            folded = len(users) == 1 and isinstance(_module(users[0], modules), _BatchNorm)
            phases = _phases(module) if isinstance(module, nn.ConvTranspose2d) else None
            channels = module.out_features if isinstance(module, nn.Linear) else module.out_channels
            if scales not in (channels, channels * len(set(phases or (0,)))):
                raise ExportError(f"the plan gives {scales} scales to the weights of {reader[:200]!r}; --qat cannot")
            return Layer(
                name=str(node.target),
                norm=str(users[0].target) if folded else None,
                axis=0 if phases is None else 1,
                groups=1 if isinstance(module, nn.Linear) else module.groups,
                phases=None if scales == channels else phases,
                read=None,
                made=None,
            )
    raise ExportError(f"the plan makes {reader[:200]!r} INT8, which no convolution or linear layer of PyTorch computes")


def _phases(layer: nn.ConvTranspose2d) -> tuple[int, ...]:
    """Which pixel of a block of stride x stride each place of the kernel adds to."""
    height, width = layer.kernel_size
    down, across = layer.stride
    top, left = (int(padding) for padding in layer.padding)
    return tuple((y - top) % down * across + (x - left) % across for y in range(height) for x in range(width))


def _edge(partners: Partners, place: Place, modules: dict[str, nn.Module]) -> tuple[fx.Node, fx.Node]:
    """The step that reads the rounded tensor, and the step that it reads it from."""
    sources = partners.of(place.tensor)
    for reader in _with_inputs_of_norms(partners.of(place.reader), modules):
        for source in sources:
            if source in reader.all_input_nodes:
                return reader, source
    raise ExportError(
        f"the plan rounds {place.tensor[:200]!r} for {place.reader[:200]!r}; no step of the PyTorch network reads it so"
    )


def _with_inputs_of_norms(nodes: list[fx.Node], modules: dict[str, nn.Module]) -> list[fx.Node]:
    """The steps, each batch norm after the step that it follows: to ONNX both are one node."""
    spread: list[fx.Node] = []
    for node in nodes:
        if isinstance(_module(node, modules), _BatchNorm):
            spread.extend(node.all_input_nodes)
        spread.append(node)
    return list(dict.fromkeys(spread))


def _module(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    return modules.get(str(node.target)) if node.op == "call_module" else None


def _inserted(graph: fx.Graph, source: fx.Node, scales: tuple[float, ...], exponents: Exponents | None) -> fx.Node:
    node = source
    for scale in scales:
        with graph.inserting_after(node):
            node = graph.call_function(fake_quantise, (node, scale, exponents))
    return node
