"""Print the API page (Markdown) from the docstrings:  python docs/make_api.py > docs/api.md  (or `make docs`).

Every name of a module's __all__ appears with its signature; a test fails where docs/api.md is not what this prints.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

MODULES = (
    "pose_runtime",
    "pose_runtime.decode",
    "pose_runtime.skeletons",
    "pose_runtime.geometry",
    "pose_runtime.oks",
    "pose_runtime.manifest",
    "pose_runtime.gpu.pipeline",
    "pose_runtime.gpu.batcher",
    "pose_runtime.errors",
    "pose_calibration.accuracy",
    "pose_calibration.keypoint_metrics",
    "pose_calibration.agreement",
)


def public_names(module: object) -> list[str]:
    """__all__, or what the module itself defines without an underscore, in the order of the source."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    name = module.__name__  # type: ignore[attr-defined]
    return [n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", None) == name]


def parameter_text(parameter: inspect.Parameter, annotations: dict[str, str]) -> str:
    """`name: type = default`."""
    kind = annotations.get(parameter.name, "")
    typed = f"{parameter.replace(annotation=parameter.empty, default=parameter.empty)}" + (f": {kind}" if kind else "")
    return typed if parameter.default is parameter.empty else f"{typed} = {parameter.default!r}"


def signature(name: str, value: Any) -> str:
    """Types as written in the source; one parameter a line where one line would be long."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return name
    annotations: dict[str, str] = {}
    owners = (*reversed(value.__mro__), value.__init__) if inspect.isclass(value) else (value,)
    for owner in owners:
        annotations |= {k: v for k, v in getattr(owner, "__annotations__", {}).items() if isinstance(v, str)}
    parts: list[str] = []
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        if parameter.name not in ("self", "cls"):
            parts.append(parameter_text(parameter, annotations))
    returns = annotations.get("return", "None")
    arrow = "" if returns == "None" or inspect.isclass(value) else f" -> {returns}"
    line = f"{name}({', '.join(parts)}){arrow}"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){arrow}"


def docstring(value: object) -> str:
    """The docstring; sections such as "Args:" and attribute lists keep their layout in a code block."""
    text = inspect.getdoc(value) or ""
    prose, *rest = re.split(r"\n\n(?=(?:Args|Attributes|Returns|Raises):\n|PoseError\n)", text, maxsplit=1)
    return prose + (f"\n\n```text\n{rest[0]}\n```" if rest else "")


def entry(name: str, value: object) -> Iterator[str]:
    """One function or class with its public methods."""
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    if inspect.isclass(value) and issubclass(value, Exception):
        yield f"- `{name}`: {docstring(value)}"
        return
    heading = "class " if inspect.isclass(value) else ""
    yield f"### `{heading}{name}`\n\n```python\n{signature(name, value)}\n```\n\n{docstring(value)}\n"
    if inspect.isclass(value):
        for method, function in vars(value).items():
            plain = function.__func__ if isinstance(function, classmethod) else function
            if not method.startswith("_") and inspect.isfunction(plain) and plain.__doc__:
                yield f"#### `{name}.{method}`\n\n```python\n{signature(method, plain)}\n```\n\n{docstring(plain)}\n"


def page() -> str:
    """The whole page."""
    parts = ["# API\n", "Generated from the docstrings by `make docs`; do not edit.\n"]
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        parts.append(f"\n## `{module_name}`\n\n{docstring(module)}\n")
        for name in public_names(module):
            value = getattr(module, name)
            if module_name == "pose_runtime" and inspect.isclass(value) and issubclass(value, Exception):
                continue  # listed under pose_runtime.errors
            parts.extend(entry(name, value))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
