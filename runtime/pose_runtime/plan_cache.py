"""Where plans live: one folder for the command line and the service, shared by any number of processes.

    plans/DIGEST.plan    a plan, see `sealed_file.py`
    plans/DIGEST.timing  TensorRT's timings of layers on this GPU
    plans/DIGEST.proof   what the check frames gave
    plans/DIGEST.choice  the options that pose-build was last given for a graph
    plans/DIGEST.lock    empty; held while that plan is built

Nothing here is ever needed: what is missing, damaged or of another board is built again.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from pose_runtime.errors import EngineError
from pose_runtime.plan_key import BuildOptions, Key, PlanKey, ProofKey, TimingKey, choice_key, digest
from pose_runtime.sealed_file import MAX_BYTES, read_sealed, write_sealed

SYSTEM_FOLDER = Path("/var/lib/jetpose")
"""The default where this process may write there."""

_LOG = logging.getLogger(__name__)
_Report = TypeVar("_Report")


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a plan came about: seconds, layers before fusion, and names of those that the DLA left to the GPU."""

    seconds: float
    layers: int
    fallbacks: tuple[str, ...] = ()


class Plan(NamedTuple):
    """A plan that can be loaded.

    Attributes:
        data: for TensorRT.
        report: of its build.
        sha256: of its file; empty where it could not be stored.
        is_new: whether this process has just built it.
    """

    data: bytes
    report: BuildReport
    sha256: str
    is_new: bool


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan gave on a bundle's check frames: the lowest OKS and the bound."""

    worst_oks: float
    min_oks: float

    @property
    def passed(self) -> bool:
        """Whether every frame met the bound."""
        return self.worst_oks >= self.min_oks


class PlanCache:
    """A folder of plans.

    Args:
        folder: made when it is first written; None for `default_folder()`.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = (default_folder() if folder is None else Path(folder)) / "plans"

    def path(self, key: Key) -> Path:
        """Where the file of a key lies, or would."""
        return self.folder / f"{digest(key)}.{key.kind}"

    def find(self, key: PlanKey) -> Plan | None:
        """The plan of exactly this key, verified; None where there is none that can be trusted."""
        sealed = read_sealed(self.path(key), key)
        report = None if sealed is None else _decoded(sealed.report, BuildReport)
        return None if sealed is None or report is None else Plan(sealed.payload, report, sealed.sha256, False)

    def get_or_build(
        self, key: PlanKey, build: Callable[[], tuple[bytes, BuildReport]], *, rebuild: bool = False
    ) -> Plan:
        """The plan of a key, built if it is not here. Of several processes one builds, the others wait and take its.

        Args:
            key: of the plan.
            build: makes the plan; takes minutes.
            rebuild: build even where there is one.

        Returns:
            The plan. Where it could not be stored (full disk, no permission), a warning says so, and `sha256` is empty.

        Raises:
            Whatever `build` raises; nothing is stored then.
        """
        if not rebuild and (found := self.find(key)):
            return found
        with self._lock(key):
            if not rebuild and (found := self.find(key)):
                return found
            data, report = build()
            return Plan(data, report, self._store(key, report, data), True)

    def timing(self, key: TimingKey) -> bytes:
        """TensorRT's timing cache; empty where there is none."""
        sealed = read_sealed(self.path(key), key)
        return b"" if sealed is None else sealed.payload

    def store_timing(self, key: TimingKey, data: bytes) -> None:
        """Keep TensorRT's timing cache. Of two builders the later one's stays: the other only loses time."""
        with self._lock(key):
            self._store(key, None, data)

    def proof(self, key: ProofKey) -> Proof | None:
        """What a plan gave on a bundle's frames; None where it has not been asked."""
        sealed = read_sealed(self.path(key), key)
        return None if sealed is None else _decoded(sealed.report, Proof)

    def store_proof(self, key: ProofKey, proof: Proof) -> None:
        """Keep what a plan gave, good or bad."""
        with self._lock(key):
            self._store(key, proof, b"")

    def with_chosen_options(self, key: PlanKey) -> PlanKey:
        """The key with the options that were chosen for its graph on its machine, if any were."""
        sealed = read_sealed(self.path(choice_key(key)), choice_key(key))
        options = None if sealed is None else _decoded(sealed.report, BuildOptions)
        return key if options is None else msgspec.structs.replace(key, options=options)

    def choose_options(self, key: PlanKey) -> None:
        """Take a plan's options for its graph from now on, where none are given."""
        with self._lock(choice_key(key)):
            self._store(choice_key(key), key.options, b"")

    def _store(self, key: Key, report: object, payload: bytes) -> str:
        path = self.path(key)
        if len(payload) > MAX_BYTES // 2:
            _LOG.warning("%s: not stored: %d bytes, at most %d are", path, len(payload), MAX_BYTES // 2)
            return ""
        try:
            return write_sealed(path, key, report, payload)
        except OSError as error:
            _LOG.warning(
                "%s: cannot be stored (%s), so the next start makes it again; free some space or choose another "
                "folder with --cache",
                path,
                error.strerror or error,
            )
            return ""

    @contextmanager
    def _lock(self, key: Key) -> Iterator[None]:
        """Keep other processes and threads out; the kernel lets go of it when this process ends, however it does."""
        path = self.path(key).with_suffix(".lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            _LOG.debug("%s: no lock (%s)", path, error.strerror or error)  # storing will fail too, and say so
            yield
            return
        try:
            _flock(descriptor, path)
            yield
        finally:
            os.close(descriptor)


def _flock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _LOG.warning("another process works on %s; waiting for it", path.with_suffix("").name)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:  # a file system without locks: two builders only waste time, for writing is one rename
        _LOG.warning("%s: cannot be locked (%s); going on", path, error.strerror or error)


def default_folder() -> Path:
    """/var/lib/jetpose where this process may write there, else the user's cache folder.

    Raises:
        EngineError: no such user folder, for there is no home.
    """
    there = SYSTEM_FOLDER if SYSTEM_FOLDER.exists() else SYSTEM_FOLDER.parent
    if os.access(there, os.W_OK | os.X_OK):
        return SYSTEM_FOLDER
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "jetpose"
    except RuntimeError as error:
        raise EngineError(f"cache: {SYSTEM_FOLDER} is not writable and there is no home folder; use --cache") from error


def _decoded(raw: msgspec.Raw, to: type[_Report]) -> _Report | None:
    try:
        return msgspec.json.decode(raw, type=to)
    except msgspec.MsgspecError:
        return None
