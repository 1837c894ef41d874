"""Time what the frame path adds to a bare captured network, on a GPU:  with export, runtime and tests on PYTHONPATH

    python tests/gpu/bench_frame_path.py [OUT.json]

HigherHRNet-W32 at 512 by torch (FP16, channels last) in TensorRT's place; 1080p NV12; 5 and 30 people standing in its
outputs. The whole graph and the bare one take turns, each timed by events around its replay. Then every kernel alone,
replayed many times over the memory of the last frame, with the share of the card's bandwidth (that of a large copy) for
those that read whole maps, and the clock cycles of those that are one block: these serial sections take as many on a
small GPU. Exit 1 where a goal is missed.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pose_runtime.gpu.device import Device, Resources, Stream
from pose_runtime.gpu.graph import capture
from pose_runtime.gpu.launch import Launch
from pose_runtime.gpu.outputs import DeviceOutputs
from pose_runtime.gpu.pipeline import GpuPipeline
from torch_engine import TorchEngine, camera_frames, manifest_512, network, scene

GOALS_MS = {5: 0.25, 30: 0.5}  # added over the bare network, on an H200
ROUNDS = 200
REPEATS = 50  # of one kernel in its graph
_COPY_BYTES = 1 << 30
_SPIN_CYCLES = 20_000_000


def main() -> int:
    """Print a table and write JSON; 1 where a goal is missed."""
    torch.cuda.init()
    net, frame = network(), camera_frames(1, "nv12")[0]
    bandwidth, clock = copy_bandwidth(), clock_rate()
    report: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "copy_GB_per_s": bandwidth / 1e9,
        "clock_GHz": clock / 1e9,
        "runs": [],
    }
    print(f"{report['gpu']}, torch {report['torch']}, a copy moves {bandwidth / 1e9:.0f} GB/s, {clock / 1e9:.2f} GHz")
    for people, goal_ms in GOALS_MS.items():
        device = Device(0)
        with device.current():
            engine = TorchEngine(net, scene(manifest_512().decoder, people), max_batch=1)
        with GpuPipeline(manifest_512(), engine, device) as pipeline:
            for _ in range(5):
                found = len(pipeline(frame))
            with device.current(), device.resources() as mine:
                run = added(pipeline, mine, frame)
                run["kernels"] = kernels(pipeline, mine, bandwidth, clock)
            run |= {"people": people, "found": found, "path": str(pipeline.path), "goal_ms": goal_ms}
        report["runs"].append(run)
        show(run)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(report, indent=1))
    return int(any(run["added_ms"] > run["goal_ms"] for run in report["runs"]))


def added(pipeline: GpuPipeline, mine: Resources, frame: Any) -> dict[str, Any]:
    """Medians, ms: the whole, the bare network, what is added, and the copy of the frame."""
    stream, start, end = mine.stream(), mine.event(), mine.event()
    pipeline.engine.enqueue(stream.handle)  # torch allocates per stream
    stream.synchronize()
    bare = capture(stream, lambda: pipeline.engine.enqueue(stream.handle))
    mine.on_close(bare.close)
    whole_s, bare_s, upload_s, stages = [], [], [], []
    for _ in range(ROUNDS):
        pipeline(frame)
        slot = pipeline._slots[1 - pipeline._next]
        whole_s.append(slot.done.seconds_since(slot.begun))
        stages.append(
            [
                slot.prepared.seconds_since(slot.begun),
                slot.inferred.seconds_since(slot.prepared),
                slot.done.seconds_since(slot.inferred),
            ]
        )
        upload_s.append(pipeline.upload_s)
        bare_s.append(timed(stream, start, end, lambda: bare.launch(stream)))
    median = {name: 1e3 * statistics.median(each) for name, each in (("whole", whole_s), ("bare", bare_s))}
    pre, net, decode = (1e3 * statistics.median(stage) for stage in zip(*stages, strict=True))
    return {
        "whole_ms": median["whole"],
        "bare_ms": median["bare"],
        "added_ms": 1e3 * statistics.median(a - b for a, b in zip(whole_s, bare_s, strict=True)),
        "upload_ms": 1e3 * statistics.median(upload_s),
        "stages_ms": {"pre": pre, "network": net, "decode": decode},
    }


def kernels(pipeline: GpuPipeline, mine: Resources, bandwidth: float, clock: float) -> list[dict[str, Any]]:
    """Every launch of a frame alone: its time, the share of the bandwidth where it reads whole maps, and the cycles
    where it is a single block."""
    assert isinstance(pipeline._outputs, DeviceOutputs)
    shape: Any = next(iter(pipeline._shapes.values()))
    launches: list[Launch] = [*shape.inputs._launches[0], *pipeline._outputs._rows[0].launches]
    sizes = bytes_read(pipeline, launches)
    stream, start, end = mine.stream(), mine.event(), mine.event()
    out = []
    for launch, size in zip(launches, sizes, strict=True):

        def many(launch: Launch = launch) -> None:
            for _ in range(REPEATS):
                stream.launch(launch)

        many()
        stream.synchronize()
        graph = capture(stream, many)
        replay: Callable[[], None] = lambda graph=graph: graph.launch(stream)  # noqa: E731
        seconds = min(timed(stream, start, end, replay) for _ in range(5)) / REPEATS
        graph.close()
        share = size / seconds / bandwidth if size else None
        cycles = round(seconds * clock) if launch.grid == (1, 1, 1) else None
        entry = {"kernel": launch.kernel, "us": 1e6 * seconds, "MB": size / 1e6}
        out.append(entry | {"share_of_bandwidth": share, "cycles": cycles})
    return out


def bytes_read(pipeline: GpuPipeline, launches: list[Launch]) -> list[int]:
    """What each kernel has to move at least; 0 for those that look at a few places."""
    assert isinstance(pipeline._outputs, DeviceOutputs)
    tensors = pipeline._tensors
    flagged = iter(tensors.outputs[name].row_bytes for name in pipeline._outputs._names)
    heat = 0
    for output in pipeline.manifest.outputs:
        if output.role == "heatmaps":
            tensor, (first, last) = tensors.outputs[output.tensor], output.channels
            heat += (last - first) * tensor.row_bytes // tensor.shape[0]
    sizes = []
    for launch in launches:
        if launch.kernel.startswith("jetpose_preprocess"):
            sizes.append(tensors.input.row_bytes + 1920 * 1080 * 3 // 2)
        elif launch.kernel == "jetpose_finite":
            sizes.append(next(flagged))
        elif "peaks" in launch.kernel:
            sizes.append(heat)
        else:
            sizes.append(0)
    return sizes


def timed(stream: Stream, start: Any, end: Any, queue: Callable[[], None]) -> float:
    """Seconds on the GPU."""
    stream.record(start)
    queue()
    stream.record(end)
    end.synchronize()
    return float(end.seconds_since(start))


def clock_rate() -> float:
    """Cycles per second of a multiprocessor that has been busy for a while."""
    torch.cuda._sleep(_SPIN_CYCLES)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    torch.cuda._sleep(_SPIN_CYCLES)
    end.record()
    end.synchronize()
    return _SPIN_CYCLES / (start.elapsed_time(end) / 1e3)


def copy_bandwidth() -> float:
    """Bytes per second, read and written, of a large copy on the card."""
    source = torch.empty(_COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        best = max(best, 2 * _COPY_BYTES / (start.elapsed_time(end) / 1e3))
    return best


def show(run: dict[str, Any]) -> None:
    """One run, in lines."""
    stages = ", ".join(f"{name} {ms:.3f}" for name, ms in run["stages_ms"].items())
    print(f"\n{run['people']} people ({run['found']} found); {run['path']}")
    print(f"  whole {run['whole_ms']:.3f} ms ({stages}); bare network {run['bare_ms']:.3f} ms")
    missed = "MISSED" if run["added_ms"] > run["goal_ms"] else "held"
    print(f"  added {run['added_ms']:.3f} ms, goal {run['goal_ms']} on an H200: {missed}")
    print(f"  upload {run['upload_ms']:.3f} ms, not counted")
    for kernel in run["kernels"]:
        share = kernel["share_of_bandwidth"]
        extra = f" {share:6.1%} of a copy" if share else ""
        if kernel["cycles"]:
            extra += f" {kernel['cycles']:9} cycles"
        print(f"  {kernel['kernel']:36} {kernel['us']:9.2f} us{extra}")


if __name__ == "__main__":
    sys.exit(main())
