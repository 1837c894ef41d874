"""A stand-in for libcuda.so.1, compiled in a moment: the few functions that `gpu.driver` calls, with given answers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from pose_runtime.gpu import driver

ORIN: dict[str, Any] = {"name": "Orin", "sm": (8, 7), "processors": 8, "version": 12060, "integrated": 1}

_SOURCE = """
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) {{ return {init}; }}
int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
int cuDeviceGet(int *device, int number) {{ *device = number; return number < {count} ? 0 : 101; }}
int cuDeviceGetName(char *name, int size, int device) {{ strncpy(name, "{name}", size); return 0; }}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {{ *bytes = (size_t)7 << 30; return 0; }}
int cuDeviceGetAttribute(int *value, int attribute, int device) {{
  switch (attribute) {{
    case 16: *value = {processors}; return 0;
    case 18: *value = {integrated}; return 0;
    case 75: *value = {major}; return 0;
    case 76: *value = {minor}; return 0;
  }}
  return 1;
}}
int cuGetErrorString(int code, const char **text) {{
  if (code != 100) return 1;
  *text = "no CUDA-capable device is detected";
  return 0;
}}
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, init: int = 0, count: int = 1, **facts: Any) -> None:
    """Compile a driver with these facts into `folder`, and have it loaded in place of libcuda.so.1."""
    values = {**ORIN, **facts}
    major, minor = values.pop("sm")
    path = folder / f"libcuda_{len(list(folder.iterdir()))}.so"  # a new name: a library is loaded only once
    source = _SOURCE.format(init=init, count=count, major=major, minor=minor, **values)
    command = ["cc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True)
    monkeypatch.setattr(driver, "LIBRARY", str(path))
