"""Every name of TensorRT's that we use is in every version that we support, or is asked for with care.

`tests/fakes/tensorrt_names.json` holds, per version, those of our names that it has; to renew it:
    JETPOSE_SHARED=... python tests/runtime/test_tensorrt_names.py
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from pose_runtime.engines import _tensorrt_library
from shared import shared

NAMES = Path(__file__).parents[1] / "fakes" / "tensorrt_names.json"
VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106", "rtx-1.7.1")

USED = {
    "BuilderFlag": {"GPU_FALLBACK"},
    "Builder": {
        "build_serialized_network", "create_builder_config", "create_network", "create_optimization_profile",
        "num_DLA_cores",
    },
    "ComputeCapability": set(),
    "DataType": {"FLOAT", "HALF"},
    "DeviceType": {"DLA"},
    "IBuilderConfig": {
        "DLA_core", "add_optimization_profile", "builder_optimization_level", "can_run_on_DLA", "create_timing_cache",
        "default_device_type", "num_compute_capabilities", "progress_monitor", "set_compute_capability", "set_flag",
        "set_memory_pool_limit", "set_timing_cache",
    },
    "ICudaEngine": {
        "create_execution_context", "device_memory_size_v2", "get_tensor_dtype", "get_tensor_mode", "get_tensor_name",
        "get_tensor_profile_shape", "get_tensor_shape", "num_io_tensors",
    },
    "IExecutionContext": {"execute_async_v3", "get_tensor_shape", "set_input_shape", "set_tensor_address"},
    "ILayer": {"name"},
    "ILogger": {"log"},
    "INetworkDefinition": {"get_input", "get_layer", "num_inputs", "num_layers"},
    "IOptimizationProfile": {"set_shape"},
    "IProgressMonitor": {"phase_finish", "phase_start", "step_complete"},
    "ITensor": {"name", "shape"},
    "ITimingCache": {"serialize"},
    "MemoryPoolType": {"TACTIC_DRAM", "WORKSPACE"},
    "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED"},
    "OnnxParser": {"get_error", "num_errors", "parse"},
    "ParserError": {"desc", "node_name", "node_operator"},
    "Runtime": {"DLA_core", "deserialize_cuda_engine"},
    "TensorIOMode": {"INPUT"},
}  # fmt: skip
"""Class -> members."""

ONLY_RTX = {
    ("ComputeCapability", None),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
}
"""Used only after the class was found to be there."""

OWN = {"DEBUG", "ERROR", "INFO", "WARNING", "append", "clear", "data", "dtype", "float16", "float32"}
"""Attributes of other objects in the same modules that happen to have a name of TensorRT's."""


def derived() -> dict[str, dict[str, list[str]]]:
    """What the JSON file must hold, from the full lists."""
    full = {version: json.loads(shared("gpu", "tensorrt_api", f"{version}.json").read_text()) for version in VERSIONS}
    return {
        version: {cls: sorted(used & set(lists[cls])) for cls, used in sorted(USED.items()) if cls in lists}
        for version, lists in full.items()
    }


def committed() -> dict[str, dict[str, list[str]]]:
    names: dict[str, dict[str, list[str]]] = json.loads(NAMES.read_text())
    return names


def modules() -> list[ast.Module]:
    folder = Path(_tensorrt_library.__file__).parent
    files = [folder / "tensorrt.py", *sorted(folder.glob("_tensorrt_*.py"))]
    assert len(files) >= 3
    return [ast.parse(file.read_text()) for file in files]


def mentioned() -> set[str]:
    """Attributes, methods and strings given to getattr in our modules."""
    found: set[str] = set()
    for node in (node for module in modules() for node in ast.walk(module)):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr"):
            found.update(a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))
    return found


def through_trt(node: Any) -> list[str]:
    """The names in `trt.A.B` or `library.trt.A.B`, without trt; empty for other expressions."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        if node.attr == "trt":
            return names[::-1]
        names.append(node.attr)
        node = node.value
    return names[::-1] if isinstance(node, ast.Name) and node.id == "trt" else []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_every_name(version: str) -> None:
    has = committed()[version]
    missing = {(cls, None) for cls in USED if cls not in has}
    missing |= {(cls, name) for cls, names in USED.items() for name in names if name not in has.get(cls, ())}
    assert missing == (set() if version.startswith("rtx") else ONLY_RTX)


def test_the_committed_lists_are_those_of_the_bindings() -> None:
    assert committed() == derived()


def test_no_name_is_used_that_is_not_listed() -> None:
    listed = set(USED).union(*USED.values())
    theirs: set[str] = set()
    for version in VERSIONS:
        lists = json.loads(shared("gpu", "tensorrt_api", f"{version}.json").read_text())
        theirs.update(lists, *filter(None, lists.values()))
    assert (mentioned() & theirs) - listed - OWN == set()


def test_names_after_trt_are_listed() -> None:
    found = [names for module in modules() for node in ast.walk(module) if (names := through_trt(node))]
    assert len(found) > 10
    for cls, *members in found:
        assert cls in ("__version__", *USED), cls
        assert set(members) <= {*USED.get(cls, ()), "__init__"}, (cls, members)


def test_no_name_is_listed_that_is_not_used() -> None:
    members = set().union(*USED.values())
    assert members - mentioned() == set()


if __name__ == "__main__":
    NAMES.write_text(json.dumps(derived(), indent=1) + "\n")
