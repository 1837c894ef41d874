"""The bundles of a device, and which of them serves."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.errors import BundleError
from pose_runtime.folder import put_folder, sync_folder, write_files
from pose_runtime.manifest import MANIFEST
from pose_runtime.networks import bundle_path
from pose_runtime.plan_cache import SYSTEM_FOLDER
from pose_runtime.store.archive import unpack
from pose_runtime.store.durable import is_used, locked, remove_file, replace_file, use
from pose_runtime.store.signature import PublicKey, read_signature, signature_path
from pose_runtime.store.switch import NAME, Record, Switch

_SUFFIX = ".pose"
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_SWITCH_WAIT_S = 10.0  # every holder needs milliseconds
_LOOK_S = 0.5  # between two looks at a trial
_FILES_WAIT_S = 60.0  # of copying another bundle


@dataclass(frozen=True, slots=True)
class Installed:
    """A bundle in a store: its name there (NAME-DIGEST12), and its folder."""

    name: str
    path: Path

    @property
    def signature_path(self) -> Path:
        """Where its signature lies, if it has one."""
        return self.path.with_name(f"{self.path.name}.sig")


class BundleStore:
    """A folder of bundles, shared by any number of processes and threads.

    Args:
        root: made when the first bundle is installed; None for `default_root()`.
        key: that every bundle must be signed with, when it is installed, activated and begins to serve; None for any
            bundle. See `signature.configured_key`.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None, *, key: PublicKey | None = None) -> None:
        self.root = default_root() if root is None else Path(root)
        self.key = key
        self._switch = Switch(self.root)
        self._own_trials: set[str] = set()

    # ---- what is there -----------------------------------------------------------------------------------------

    def installed(self) -> list[Installed]:
        """All bundles, in the order of their names. Raises BundleError."""
        try:
            paths = [path for path in self.root.iterdir() if path.suffix == _SUFFIX]
            names = [path.stem for path in paths if path.is_dir() and not path.is_symlink()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _error(self.root, error) from error
        return [self._at(name) for name in sorted(names) if NAME.match(name)]

    def find(self, name: str) -> Installed:
        """The one bundle whose name, or SHA-256, begins like this; its whole name comes first. Raises BundleError."""
        everyone = self.installed()
        wanted = name.removesuffix("/").removesuffix(_SUFFIX)
        found = [one for one in everyone if one.name == wanted] or [
            one for one in everyone if wanted and (one.name.startswith(wanted) or _digest(one).startswith(wanted[:12]))
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(one.name for one in found or everyone) or "none"
        if found:
            raise BundleError(f"{name}: could be any of {names}; give more of the name")
        raise BundleError(f"{name}: is not installed in {self.root}; installed: {names}")

    def current(self) -> Installed | None:
        """The bundle that serves; None before the first was activated. Raises BundleError."""
        return self._maybe(self._switch.current)

    def previous(self) -> Installed | None:
        """The bundle that `rollback` goes back to; None where there is none. Raises BundleError."""
        return self._maybe(self._switch.previous)

    def last_switch(self) -> Record | None:
        """The last activation while it is on trial, or if it failed. Raises BundleError."""
        return self._switch.record

    def load(self, one: Installed) -> Bundle:
        """A bundle, verified, with its signature if this store has a key. Raises BundleError."""
        bundle = load_bundle(one.path)
        if not bundle.digest.startswith(_digest(one)):
            raise BundleError(f"{one.path}: holds another bundle, {bundle.digest[:12]}; remove it and install it again")
        if self.key is not None:
            self.key.verify(bundle, read_signature(one.signature_path))
        return bundle

    # ---- bundles come and go -----------------------------------------------------------------------------------

    def install(self, source: str | os.PathLike[str]) -> Installed:
        """Copy a bundle into the store: verified, whole, or not at all. It does not serve yet.

        Args:
            source: a folder NAME.pose/, a .tar or .tar.gz of one, or the name of a network that comes with jetpose.

        Returns:
            The installed one, also if it was there before; a damaged copy is replaced.

        Raises:
            BundleError: no bundle or archive, damaged, hostile, not signed as it must be; or no room, no permission.
        """
        path = bundle_path(source)
        with self._changing_files(), self._staging() as stage:
            if path.name.endswith(_ARCHIVES) and not path.is_dir():
                folder = unpack(path, stage)
                bundle, signature = load_bundle(folder), read_signature(signature_path(folder))
            else:
                bundle = load_bundle(path)
                signature = read_signature(signature_path(path))
                folder = stage / bundle.path.resolve().name
                _copy(bundle, folder)
            if self.key is not None:
                self.key.verify(bundle, signature)
            return self._place(folder, bundle, signature)

    def remove(self, one: Installed) -> None:
        """Remove a bundle that neither serves, nor is the one to go back to, nor is in use.

        Raises:
            BundleError: it is, or it cannot be removed.
        """
        with self._changing_files():
            self._remove(one)

    def prune(self, keep: int) -> list[Installed]:
        """Remove the bundles that were installed first, except those that `remove` refuses.

        Args:
            keep: how many of the others stay.

        Returns:
            Those that were removed.

        Raises:
            BundleError: one cannot be removed.
        """
        with self._changing_files():
            others = sorted((one for one in self.installed() if not self._why_kept(one)), key=_age, reverse=True)
            removed = others[max(keep, 0) :]
            for one in removed:
                self._remove(one)
        return removed

    # ---- switching ---------------------------------------------------------------------------------------------

    def activate(self, one: Installed, *, prove: Callable[[Bundle], None]) -> bool:
        """Make a bundle serve: on trial, until a service confirms it.

        Args:
            one: installed.
            prove: builds the bundle's engine and shows it the check frames, while the present bundle serves; may take
                minutes. Whatever it raises, nothing changes.

        Returns:
            False if it served already, and nothing changed.

        Raises:
            BundleError: damaged, or not signed as it must be; the links cannot be written.
        """
        self._need_writable()
        with self._using(one):
            prove(self.load(one))
            with self._switching():
                trial = self._switch.trial
                if self._switch.current == one.name:
                    return False
                if trial is not None:
                    self._switch.fail(trial, f"{one.name} was activated before a service had confirmed it")
                if self._switch.current == one.name:  # it was the way back
                    return True
                self._switch.to(one.name, on_trial=True)
                return True

    def rollback(self) -> Installed:
        """Go back to the bundle that served before; from there another rollback leads forward again.

        Raises:
            BundleError: there is none, it is damaged, or not signed as it must be; the links cannot be written.
        """
        target = self.previous()
        if target is None:
            raise BundleError(f"{self.root}: there is no bundle to go back to")
        self._need_writable()
        with self._using(target):
            self.load(target)
            with self._switching():
                if self._switch.previous != target.name:
                    raise BundleError(f"{self.root}: another process switched bundles meanwhile; look, and try again")
                if trial := self._switch.trial:
                    self._switch.fail(trial, "rolled back by hand")
                else:
                    self._switch.to(target.name, on_trial=False)
        return target

    def wait_for_verdict(self, one: Installed, within_s: float) -> None:
        """Until a service has confirmed the trial of a bundle; at once where it serves without one.

        Args:
            one: that was activated.
            within_s: seconds that the services have.

        Raises:
            BundleError: it does not serve, since it failed or another was switched to; or no service has confirmed it
                in time, and it is still on trial.
        """
        end_s = monotonic() + within_s
        while True:
            with self._reading():
                current, last = self._switch.current, self._switch.record
            if current != one.name:
                failed = last is not None and last.to == one.name and last.state == "failed"
                why = last.reason if failed and last else f"{current or 'no bundle'} is current"
                raise BundleError(f"{one.name} does not serve: {why}")
            if last is None or last.to != one.name or last.state != "trial":
                return
            if monotonic() >= end_s:
                raise BundleError(f"{one.name}: no service has confirmed it within {within_s:.0f} s; does one run?")
            sleep(_LOOK_S)

    # ---- the service's side ------------------------------------------------------------------------------------

    def begin_serving(self, service: str = "pose-run") -> Serving:
        """Take the present bundle; for a service's start and for each reload, with one store for the whole process.

        If the bundle is on trial, that is written down before it is returned. Where it is written down already, by a
        process of this service that has ended since, that process died on it: the store goes back to the bundle before,
        and that is returned. So it does if the bundle on trial is damaged.

        Where nothing can be written (full or read-only disk), the bundle of a trial is not touched, for the next start
        would not know of this one: the bundle before is returned, and no link is changed.

        Args:
            service: name, of those that share the store; two processes at a time are never of one name.

        Raises:
            BundleError: there is no bundle, it is damaged, or it is not signed as it must be.
        """
        with self._reading():
            name, trial, note = self._chosen(service)
            descriptor = self._use(name)
        try:
            return self._serving(name, trial, note, descriptor)
        except BundleError as error:
            if trial is None or trial.back_to is None:
                raise
            with self._reading():
                name, note = self._go_back(trial, str(error))
                descriptor = self._use(name)
        return self._serving(name, None, note, descriptor)

    def _chosen(self, service: str) -> tuple[str, Record | None, str | None]:
        """Name of the bundle to serve, its trial, and what is worth telling."""
        name, trial = self._switch.current, self._switch.trial
        if name is None:
            raise BundleError(
                f"{self.root}: no bundle is active; pose-bundle install one, then pose-bundle activate it"
            )
        if trial is None:
            return name, None, None
        if trial.id in self._own_trials:
            return name, trial, None
        if service in trial.begun and trial.back_to is not None:
            back, note = self._go_back(trial, f"{service} ended before it had confirmed it")
            return back, None, note
        if service not in trial.begun:
            try:
                self._switch.begin(trial, service)
            except OSError as error:
                if trial.back_to is not None:
                    why = f"{trial.to} is not tried: its trial cannot be written down ({error.strerror})"
                    return trial.back_to, None, f"{why}; serving {trial.back_to}"
        self._own_trials.add(trial.id)
        return name, trial, f"{name} is on trial"

    def _go_back(self, trial: Record, reason: str) -> tuple[str, str]:
        """To the bundle before, on the disk too if that can be written: its name, and what to tell."""
        back = trial.back_to
        if back is None:
            return trial.to, f"{trial.to} failed its trial ({reason}), and there is no bundle to go back to"
        note = f"{trial.to} failed its trial ({reason}); back to {back}"
        try:
            self._switch.fail(trial, reason)
        except OSError as error:
            note += f", until the next start only, for the links cannot be changed ({error.strerror})"
        return back, note

    def _serving(self, name: str, trial: Record | None, note: str | None, descriptor: int) -> Serving:
        one = self._at(name)
        try:
            return Serving(self, one, self.load(one), trial, note, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def _use(self, name: str) -> int:
        one = self._at(name)
        try:
            return use(one.path)
        except OSError as error:
            raise _error(one.path, error) from error

    def _end_trial(self, trial: Record, reason: str | None) -> bool:
        with self._switching():
            now = self._switch.trial
            if now is None or now.id != trial.id:
                return False
            if reason is not None:
                self._own_trials.discard(trial.id)  # so that `begin_serving` goes back even if this cannot be written
                return self._switch.fail(now, reason)
            self._switch.confirm(now)
            return True

    # ---- parts -------------------------------------------------------------------------------------------------

    def _at(self, name: str) -> Installed:
        return Installed(name, self.root / f"{name}{_SUFFIX}")

    def _maybe(self, name: str | None) -> Installed | None:
        return None if name is None else self._at(name)

    def _place(self, folder: Path, bundle: Bundle, signature: bytes | None) -> Installed:
        """Give a verified folder of the store's own its name; the signature first, so that it is never missing."""
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", folder.name.removesuffix(_SUFFIX)).lstrip(".-")[:80] or "bundle"
        one = self._at(f"{stem}-{bundle.digest[:12]}")
        if signature is not None:
            replace_file(one.signature_path, signature)
        if os.path.lexists(one.path):
            with suppress(BundleError):
                if load_bundle(one.path).digest == bundle.digest:
                    return one
            if not (one.path / MANIFEST).is_file():
                one.path.rename(folder.parent / "damaged")
        for part in [*(path for path in folder.iterdir() if path.is_dir()), folder]:
            sync_folder(part)
        put_folder(folder, one.path, overwrite=True)
        sync_folder(self.root)
        return one

    def _remove(self, one: Installed) -> None:
        with self._switching():
            if reason := self._why_kept(one):
                raise BundleError(f"{one.name}: is not removed: {reason}")
            gone = self.root / f".{one.path.name}.tmp"
            shutil.rmtree(gone, ignore_errors=True)
            one.path.rename(gone)
            sync_folder(self.root)
        remove_file(one.signature_path)
        shutil.rmtree(gone)

    def _why_kept(self, one: Installed) -> str | None:
        if one.name in self._switch.named:
            return "it serves" if one.name == self._switch.current else "it is the one to go back to"
        try:
            return "a process uses it" if is_used(one.path) else None
        except OSError as error:
            raise _error(one.path, error) from error

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A folder that vanishes; those of processes that were killed, too."""
        for old in self.root.glob(".*.tmp"):
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old, ignore_errors=True)
        for old in (*self.root.glob(".*.sig.tmp"), *self.root.glob("*.pose.sig")):
            if not old.with_suffix("").exists():
                old.unlink()
        stage = Path(tempfile.mkdtemp(prefix=".install.", suffix=".tmp", dir=self.root))
        try:
            yield stage
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    @contextmanager
    def _changing_files(self) -> Iterator[None]:
        with self._telling():
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self.root / ".files.lock", _FILES_WAIT_S):
                yield

    @contextmanager
    def _switching(self) -> Iterator[None]:
        with self._telling(), locked(self.root / ".lock", _SWITCH_WAIT_S):
            yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """As `_switching`, but also where nothing can be written, and so nothing changes."""
        with self._telling(), ExitStack() as stack:
            if os.access(self.root, os.W_OK) or (self.root / ".lock").exists():
                stack.enter_context(locked(self.root / ".lock", _SWITCH_WAIT_S))
            yield

    def _need_writable(self) -> None:
        """Before minutes of building, not after."""
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise BundleError(f"{self.root}: may not be written; run this as the user who owns it")

    @contextmanager
    def _using(self, one: Installed) -> Iterator[None]:
        with self._switching():
            descriptor = self._use(one.name)
        try:
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _error(self.root, error) from error


class Serving:
    """A bundle that a service serves; close it when it does not any more.

    Attributes:
        installed: which one.
        bundle: verified; its files stay while this is open.
        note: what is worth telling, such as that the store went back; None for nothing.
    """

    def __init__(
        self, store: BundleStore, installed: Installed, bundle: Bundle, trial: Record | None, note: str | None, use: int
    ) -> None:
        self.installed, self.bundle, self.note = installed, bundle, note
        self._store = store
        self._trial = trial
        self._use = use

    @property
    def on_trial(self) -> bool:
        """Whether `confirm` or `give_up` is awaited."""
        return self._trial is not None

    def confirm(self) -> bool:
        """It gave healthy results: it stays.

        Returns:
            Whether it did; False if the store went to another bundle meanwhile, so call `begin_serving` again.

        Raises:
            BundleError: it cannot be written; the trial goes on.
        """
        return self._end(None)

    def give_up(self, reason: str) -> bool:
        """It gave none: back to the bundle before; call `begin_serving` for that.

        Returns:
            Whether the store went back; False if it went to another bundle before, or there is none to go back to.

        Raises:
            BundleError: it cannot be written; `begin_serving`, now or at the next start, goes back then.
        """
        return self._end(reason)

    def _end(self, reason: str | None) -> bool:
        if self._trial is None:
            current = self._store.current()
            return reason is None and current is not None and current.name == self.installed.name
        ended = self._store._end_trial(self._trial, reason)
        self._trial = None
        return ended

    def close(self) -> None:
        """Its files may go; a second time does nothing."""
        if self._use >= 0:
            os.close(self._use)
            self._use = -1

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def default_root() -> Path:
    """/var/lib/jetpose/bundles where it is or this process may make it, else the user's data folder.

    Raises:
        BundleError: no such user folder, for there is no home.
    """
    there = SYSTEM_FOLDER if SYSTEM_FOLDER.exists() else SYSTEM_FOLDER.parent
    try:
        on_device = (SYSTEM_FOLDER / "bundles").is_dir()
    except PermissionError:  # the service's, and not for this user: that is told when it is opened
        on_device = True
    if on_device or os.access(there, os.W_OK | os.X_OK):
        return SYSTEM_FOLDER / "bundles"
    base = os.environ.get("XDG_DATA_HOME", "")
    try:
        return (Path(base) if Path(base).is_absolute() else Path.home() / ".local/share") / "jetpose" / "bundles"
    except RuntimeError as error:
        raise BundleError(f"{SYSTEM_FOLDER} is not writable and there is no home folder; use --store") from error


def _copy(bundle: Bundle, folder: Path) -> None:
    """Write the bytes that were verified."""
    folder.mkdir()
    write_files(folder, {MANIFEST: bundle.manifest_bytes()})
    for name in bundle.manifest.files:
        write_files(folder, {name: bundle.file_bytes(name)})


def _digest(one: Installed) -> str:
    return one.name.rpartition("-")[2]


def _age(one: Installed) -> tuple[int, str]:
    try:
        return one.path.stat().st_mtime_ns, one.name
    except OSError:
        return 0, one.name


def _error(path: Path, error: OSError) -> BundleError:
    return BundleError(f"{error.filename or path}: {error.strerror or error}")
