"""The whole frame path on a GPU without TensorRT: a torch network in its place, against the pipeline on the CPU.

For a machine with an NVIDIA GPU, torch for CUDA, pycuda and kernels in the build; `run_all.sh` runs it there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pose_runtime.engines import TensorSpec
from pose_runtime.engines.fake import FakeEngine
from pose_runtime.errors import EngineError
from pose_runtime.gpu.driver import find_gpu
from pose_runtime.pipeline import Pipeline

pytestmark = pytest.mark.gpu
PEOPLE = (0, 1, 5, 30)


@pytest.fixture(scope="module")
def torch_engine() -> Any:
    for name in ("torch", "pycuda"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    try:
        find_gpu()
    except EngineError as error:
        pytest.skip(str(error))
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this torch is not for CUDA")
    torch.cuda.init()
    import torch_engine as module

    return module


@pytest.fixture(scope="module")
def net(torch_engine: Any) -> Any:
    return torch_engine.network()


def both(torch_engine: Any, net: Any, people: int | None) -> Iterator[tuple[Any, Pipeline]]:
    from pose_runtime.gpu.device import Device
    from pose_runtime.gpu.pipeline import GpuPipeline

    of = torch_engine.manifest_512()
    scene = None if people is None else torch_engine.scene(of.decoder, people)
    device = Device(0)
    with device.current():
        engine = torch_engine.TorchEngine(net, scene)
    specs = [
        [TensorSpec(spec.name, (None, *spec.shape[1:]), spec.dtype) for spec in side]
        for side in (engine.inputs, engine.outputs)
    ]
    function = torch_engine.on_the_cpu(net, scene)
    with Pipeline(of, FakeEngine(*specs, function)) as cpu, GpuPipeline(of, engine, device) as on_gpu:
        yield on_gpu, cpu


def assert_same(got: Any, wanted: Any) -> None:
    assert len(got) == len(wanted)
    np.testing.assert_allclose(got.keypoints, wanted.keypoints, rtol=0, atol=1e-3)
    np.testing.assert_allclose(got.scores, wanted.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("people", PEOPLE)
@pytest.mark.parametrize("form", ["nv12", "bgr8"])
def test_poses_equal_those_of_the_cpu(torch_engine: Any, net: Any, form: str, people: int) -> None:
    for on_gpu, cpu in both(torch_engine, net, people):
        for frame in torch_engine.camera_frames(4, form):
            assert_same(on_gpu(frame), cpu(frame))
        assert (on_gpu.path.pre, on_gpu.path.decode, on_gpu.path.replay) == ("gpu", "gpu", "graph"), str(on_gpu.path)


def test_the_networks_own_outputs(torch_engine: Any, net: Any) -> None:
    """The input that the kernel makes is the CPU's to the bit, so the network and the poses follow."""
    for on_gpu, cpu in both(torch_engine, net, None):
        for frame in torch_engine.camera_frames(3, "nv12"):
            assert_same(on_gpu(frame), cpu(frame))


def test_batches_and_overlap(torch_engine: Any, net: Any) -> None:
    frames = torch_engine.camera_frames(4, "nv12")
    for on_gpu, cpu in both(torch_engine, net, 5):
        wanted = [cpu(frame) for frame in frames]
        for _ in range(3):
            for got, want in zip(on_gpu(frames), wanted, strict=True):
                assert_same(got, want)
        on_gpu.submit(frames[0])
        for index in range(1, 40):
            on_gpu.submit(frames[index % 4])
            assert_same(on_gpu.result(), wanted[(index - 1) % 4])
        assert_same(on_gpu.result(), wanted[39 % 4])
