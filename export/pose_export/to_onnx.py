"""PyTorch to ONNX: one file, simplified, and proven to compute the same."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxsim
import torch
from torch import Tensor, nn

from pose_calibration.graph_stats import check_model
from pose_export.files import write_file
from pose_export.graph import TOLERANCE, range_difference
from pose_runtime.errors import ExportError

OPSET = 19
"""The first with float16 scales in QuantizeLinear and DequantizeLinear."""
"""Largest difference between PyTorch and ONNX Runtime, in parts of an output's range."""
_TRACED_SIZE = 128
"""Height and width that a network of any size is traced with."""


def export_onnx(
    module: nn.Module,
    *,
    input_name: str,
    output_names: Sequence[str | None],
    size_wh: tuple[int, int],
    dynamic_batch: bool,
    path: Path,
) -> None:
    """Write `module` as one simplified ONNX file, atomically.

    Args:
        module: takes float32 (N, 3, H, W) and returns a tensor, or a list or tuple of them.
        input_name: of the input tensor.
        output_names: one per tensor that the module returns; None drops it, with the layers that only it needs (heads
            that serve training).
        size_wh: input width and height; (0, 0) leaves both open.
        dynamic_batch: any batch size instead of 1.
        path: of the file to write.
    """
    if (0 in size_wh and size_wh != (0, 0)) or min(size_wh) < 0:
        raise ExportError(f"input size {size_wh[0]}x{size_wh[1]}: give width and height, or 0x0 for any")
    width, height = size_wh if size_wh != (0, 0) else (_TRACED_SIZE, _TRACED_SIZE)
    sample = torch.zeros(1, 3, height, width)
    heads = _Heads(module, output_names)
    axes = {0: "batch"} if dynamic_batch else {}
    if size_wh == (0, 0):
        axes |= {2: "height", 3: "width"}
    model = _traced(heads, sample, input_name, [name for name in output_names if name is not None], axes)
    write_file(path, _simplified(model).SerializeToString(deterministic=True))


class _Heads(nn.Module):
    """A network without the outputs that have no name."""

    def __init__(self, module: nn.Module, names: Sequence[str | None]) -> None:
        super().__init__()
        self.module, self.names = module, tuple(names)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(x)
        outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        if len(outputs) != len(self.names):
            raise ExportError(f"the network has {len(outputs)} outputs, {len(self.names)} names were given")
        return tuple(output for output, name in zip(outputs, self.names, strict=True) if name is not None)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each part gets its own mode back."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part in training:
            part.training = True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings and prints, which tell a user nothing, away from the terminal."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def _traced(
    module: nn.Module, sample: Tensor, input_name: str, output_names: list[str], axes: dict[int, str]
) -> onnx.ModelProto:
    """The TorchScript exporter: on static convolutional graphs it gives what the newer one does, ten times as fast."""
    buffer = io.BytesIO()
    try:
        with _quiet(), _evaluating(module):
            torch.onnx.export(
                module,
                (sample,),
                buffer,  # type: ignore[arg-type]
                input_names=[input_name],
                output_names=output_names,
                dynamic_axes=dict.fromkeys((input_name, *output_names), axes) if axes else None,
                opset_version=OPSET,
                dynamo=False,
            )
    except ExportError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ExportError(
            f"the network cannot be exported at {sample.shape[3]}x{sample.shape[2]}: {reason}; is the size a multiple "
            "of the network's step?"
        ) from error
    return onnx.load_model_from_string(buffer.getvalue())


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold batch norms and constants; drop what describes the export and not the network."""
    with _quiet():
        model, _ = onnxsim.simplify(model)
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in model.graph.output:  # open dimensions of different heads must not share the exporter's names
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_param = "batch" if axis == 0 else f"{value.name}_{axis}"
    check_model(model, "the exported network")
    return model


def compare(
    module: nn.Module,
    path: Path,
    *,
    output_names: Sequence[str | None],
    size_wh: tuple[int, int],
    runs: int = 2,
    tolerance: float = TOLERANCE,
) -> dict[str, float]:
    """Largest difference per output between `module` and the ONNX file on random inputs, in parts of its range.

    The inputs (standard normal, fixed seed) are batches of 1, then 2 where the file takes any batch. ExportError where
    a difference is over `tolerance`, or an output is not finite or not of the module's shape.
    """
    session = _session(path)
    (graph_input,) = session.get_inputs()
    names = [name for name in output_names if name is not None]
    heads = _Heads(module, output_names)
    width, height = size_wh if size_wh != (0, 0) else (_TRACED_SIZE + 64, _TRACED_SIZE)
    random = np.random.default_rng(0)
    worst = dict.fromkeys(names, 0.0)
    for run in range(runs):
        batch = 1 if isinstance(graph_input.shape[0], int) else 1 + run % 2
        x = random.standard_normal((batch, 3, height, width), dtype=np.float32)
        with _evaluating(heads):
            wanted = [output.numpy() for output in heads(torch.from_numpy(x))]
        for name, got, want in zip(names, session.run(names, {graph_input.name: x}), wanted, strict=True):
            worst[name] = max(worst[name], _difference(name, got, want))
    for name, difference in worst.items():
        if not difference <= tolerance:
            raise ExportError(
                f"{path}: output {name!r} differs from PyTorch by {difference:.2g} of its range, {tolerance:.2g} is "
                "allowed; the export is wrong"
            )
    return worst


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ExportError(f"{path}: ONNX Runtime refuses the model: {reason}") from error


def _difference(name: str, got: np.ndarray, want: np.ndarray) -> float:
    if got.shape != want.shape:
        raise ExportError(f"output {name!r} is {got.shape} in ONNX, {want.shape} in PyTorch; the export is wrong")
    if not np.isfinite(want).all():
        raise ExportError(f"output {name!r} of the network holds NaN or Inf; its weights are damaged")
    if not np.isfinite(got).all():
        return float("inf")
    return range_difference(got, want)
