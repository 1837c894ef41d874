"""OpenGL through EGL: a context, and programs whose uniforms are set by name."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.surface import Surface
from pose_runtime.errors import ExportError

_EGL: dict[str, Any] = {"backend": "egl"}

VERTEX = {
    "position": ("3f", "<f4", 3),
    "normal": ("3f", "<f4", 3),
    "uv": ("2f", "<f4", 2),
    "bone": ("4f1", "u1", 4),
    "weight": ("4f1", "u1", 4),
    "region": ("1f", "<f4", 1),
    "part": ("1f", "<f4", 1),
}
"""Attributes of a vertex in their order: moderngl's format, and type and count of the numbers."""


def open_context() -> Any:
    """A context of its own; it is current until another one is entered.

    What Python drops is kept until `context.gc()`, so that nothing is deleted while another context is current.

    Raises:
        ExportError: moderngl is missing, or there is no OpenGL.
    """
    try:
        import moderngl
    except ImportError as error:
        raise ExportError(f"{error.name or error} is missing; pip install 'jetpose[export]'") from error
    try:
        context = moderngl.create_context(require=330, standalone=True, **_EGL)
    except Exception as error:  # moderngl raises plain Exception
        raise ExportError(f"no OpenGL 3.3 through EGL: {error}; Debian: apt install libegl1 libgl1-mesa-dri") from error
    context.gc_mode = "context_gc"
    return context


class Program:
    """A compiled program.

    Args:
        context: what compiles it.
        vertex, fragment: names of shaders.
        define: lines that go under the fragment shader's `#version`.
    """

    def __init__(self, context: Any, vertex: str, fragment: str, define: str = "") -> None:
        version, _, rest = _source(fragment).partition("\n")
        self.program = context.program(vertex_shader=_source(vertex), fragment_shader=f"{version}\n{define}\n{rest}")
        members = {name: self.program[name] for name in self.program}
        self._uniforms = {name: member for name, member in members.items() if hasattr(member, "write")}
        self._sizes = {name: member.array_length * member.dimension for name, member in self._uniforms.items()}

    def __contains__(self, name: str) -> bool:
        """Whether the compiler kept the attribute or uniform."""
        return name in self.program

    def set(self, **values: Any) -> None:
        """Uniforms by name: numbers, tuples or arrays; those that the compiler removed are left out."""
        for name, value in values.items():
            uniform = self._uniforms.get(name)
            if uniform is None:
                continue
            if isinstance(value, np.ndarray):
                uniform.write(_fitted(value, self._sizes[name]))
            else:
                uniform.value = value


def _source(name: str) -> str:
    return resources.files("pose_export.synthetic").joinpath("shaders").joinpath(name).read_text()


def _fitted(value: NDArray[Any], wanted: int) -> bytes:
    """As many numbers as the uniform has: the compiler shortens arrays whose end is not read."""
    flat = np.asarray(value, np.float32).reshape(-1)
    if flat.size < wanted:
        flat = np.pad(flat, (0, wanted - flat.size))
    return flat[:wanted].tobytes()


def interleaved(surface: Surface, parts: NDArray[np.float32]) -> bytes:
    """The vertices of a surface as `VERTEX` says; `parts` are those of `looks.parts_of`."""
    rows = np.zeros(len(surface.positions), [(name, kind, count) for name, (_, kind, count) in VERTEX.items()])
    rows["position"], rows["normal"], rows["uv"] = surface.positions, surface.normals, surface.uv
    rows["bone"], rows["weight"] = surface.bones, np.round(255 * surface.weights)
    rows["region"], rows["part"] = surface.region[:, None], parts[:, None]
    return rows.tobytes()


def layout(program: Program) -> tuple[str, ...]:
    """How a program reads `interleaved` vertices: moderngl's format, padded where it lacks an attribute, and names."""
    kept = [name for name in VERTEX if name in program]
    sizes = {name: count * np.dtype(kind).itemsize for name, (_, kind, count) in VERTEX.items()}
    formats = [form if name in kept else f"{sizes[name]}x" for name, (form, _, _) in VERTEX.items()]
    return (" ".join(formats), *kept)
