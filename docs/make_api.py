"""Print the API page (Markdown) from the docstrings:  python docs/make_api.py > docs/api.md  (or `make docs`).

Every name of a module's __all__ appears with its signature; a test fails where docs/api.md is not what this prints.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

MODULES = (
    "pose_runtime",
    "pose_runtime.decode",
    "pose_runtime.skeletons",
    "pose_runtime.geometry",
    "pose_runtime.oks",
    "pose_runtime.manifest",
    "pose_runtime.errors",
    "pose_calibration.accuracy",
)


def public_names(module: object) -> list[str]:
    """__all__, or what the module itself defines without an underscore, in the order of the source."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    name = module.__name__  # type: ignore[attr-defined]
    return [n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", None) == name]


def signature(name: str, value: object) -> str:
    """One line, types as written in the source."""
    try:
        text = str(inspect.signature(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return name
    return name + re.sub(r"'([^']*)'", r"\1", text) if len(text) < 1000 else f"{name}(…)"


def docstring(value: object) -> str:
    """The docstring; sections such as "Args:" and attribute lists keep their layout in a code block."""
    text = inspect.getdoc(value) or ""
    prose, *rest = re.split(r"\n\n(?=(?:Args|Attributes|Returns|Raises):\n)", text, maxsplit=1)
    return prose + (f"\n\n```text\n{rest[0]}\n```" if rest else "")


def entry(name: str, value: object) -> Iterator[str]:
    """One function or class with its public methods."""
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return
    heading = "class " if inspect.isclass(value) else ""
    yield f"### `{heading}{name}`\n\n```python\n{signature(name, value)}\n```\n\n{docstring(value)}\n"
    if inspect.isclass(value) and not issubclass(value, Exception):
        for method, function in vars(value).items():
            plain = function.__func__ if isinstance(function, classmethod) else function
            if not method.startswith("_") and inspect.isfunction(plain) and plain.__doc__:
                yield f"#### `{name}.{method}`\n\n```python\n{signature(method, plain)}\n```\n\n{docstring(plain)}\n"


def page() -> str:
    """The whole page."""
    parts = ["# API\n", "Generated from the docstrings by `make docs`; do not edit.\n"]
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        parts.append(f"## `{module_name}`\n\n{docstring(module)}\n")
        for name in public_names(module):
            parts.extend(entry(name, getattr(module, name)))
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
