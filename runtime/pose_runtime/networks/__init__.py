"""The networks that come with jetpose: bundles in this folder, found by name."""

from __future__ import annotations

import difflib
import os
from importlib import resources
from pathlib import Path

DEFAULT = "lightweight-tiny"
"""The network that runs where none is named."""

_SUFFIX = ".pose"


def bundled() -> dict[str, Path]:
    """The networks that come with jetpose: name -> folder of the bundle, in the order of the names."""
    return {path.name.removesuffix(_SUFFIX): path for path in sorted(_folder().glob(f"*{_SUFFIX}"))}


def bundle_path(bundle: str | os.PathLike[str]) -> Path:
    """Where a bundle lies.

    A str that is a bundled network's name means that network, whatever the current folder holds; `./NAME` and every
    Path mean the path.
    """
    found = bundled().get(bundle) if isinstance(bundle, str) else None
    return found or Path(bundle)


def no_such_bundle(path: Path) -> str:
    """What to say of a path that is not there: also which names there are, if it looks like a name."""
    if len(path.parts) != 1 or path.suffix == _SUFFIX:
        return f"{path}: no such folder; a bundle is NAME{_SUFFIX}/"
    names = list(bundled())
    close = difflib.get_close_matches(path.name, names, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    known = ", ".join(names) or "none"
    return f"{path}: no such folder, and no network of this name comes with jetpose; {hint}known: {known}"


def _folder() -> Path:
    """As a path: a bundle is read through descriptors of its folder."""
    return Path(str(resources.files(__name__)))
