"""Run jetpose on every golden file of a folder laid out as the reference folder is.

    python tests/goldens.py DIR

Prints one line per family and exits 1 if a case fails or no golden is found. A family is a function in
`tests/families/` that takes DIR and yields one Case per golden case; a family without files in DIR is left out.
DIR may also hold the folder that is laid out so.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

MODULES = (
    "embedding",
    "heatmap",
    "hourglass",
    "metrics",
    "networks",
    "offset",
    "oks",
    "paf",
    "preprocess",
    "training",
    "vector",
)


@dataclass(frozen=True)
class Case:
    """One golden case: the largest difference found and what is allowed. Discrete results differ by inf or 0."""

    name: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance  # NaN fails


Family = Callable[[Path], Iterable[Case]]

GROUPS = ("hourglass", "hrnet", "losses", "paf")  # folders of a reference folder that families read


def load_script(path: Path) -> ModuleType:
    """A golden folder's own generator, such as `gen_ae_cases.py`, as a module."""
    spec = importlib.util.spec_from_file_location(f"golden_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reference_root(folder: Path) -> Path:
    """The folder that holds the groups: the given one, or the first of its own folders that does."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    for root in (folder, *inside):
        if any((root / group).is_dir() for group in GROUPS):
            return root
    return folder


def families() -> dict[str, Family]:
    """All families by name, such as `paf/lightweight`."""
    found: dict[str, Family] = {}
    for module in MODULES:
        found.update(importlib.import_module(f"families.{module}").FAMILIES)
    return found


def run(folder: Path, wanted: str = "") -> tuple[int, int]:
    """Run all families whose name contains `wanted`; returns how many cases passed and how many there were."""
    passed = total = 0
    folder = reference_root(folder)
    for name, family in families().items():
        if wanted not in name:
            continue
        start = time.perf_counter()
        cases: list[Case] = []
        broken = ""
        try:
            cases.extend(family(folder))
        except Exception:
            broken = traceback.format_exc()
        if not cases and not broken:
            continue
        good = sum(case.passed for case in cases)
        worst = max((case.difference for case in cases), default=float("nan"))
        seconds = time.perf_counter() - start
        print(f"{name:28} {good}/{len(cases)}  worst |d| {worst:.1e}  {seconds:.1f} s")
        for case in cases:
            if not case.passed:
                print(f"    FAILED {case.name}: {case.difference:.3g}, allowed {case.tolerance:.3g}")
        if broken:
            print("    BROKEN " + broken.rstrip().replace("\n", "\n    "))
        passed += good
        total += len(cases) + bool(broken)
    return passed, total


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python tests/goldens.py DIR [FAMILY]")
    root = Path(sys.argv[1])
    if not root.is_dir():
        sys.exit(f"{root}: no such folder")
    ok, count = run(root, sys.argv[2] if len(sys.argv) == 3 else "")
    print(f"{ok} of {count} cases passed")
    sys.exit(0 if count and ok == count else 1)
