"""Which bundle serves, which did before, and whether the present one is on trial: two links and one record.

A switch writes its record, then points `current` elsewhere, then puts the rest in order. The link is the moment at
which it happens: a record counts only while `current` is its `to`, so that one written for a switch that never came
about says nothing. Each step is on the disk before the next begins. A power cut leaves the old bundle or the new one,
the latter with its trial and its way back.

                 activate                 begin                  confirm
    OLD serves ───────────> NEW pending ─────────> NEW begun ──────────────> NEW serves, OLD is previous
        ^                        │                     │
        └────────────────────────┴─────────────────────┘
            give up, rollback; a start that finds its own trial begun, for that process died on it
"""

from __future__ import annotations

import errno
import re
import secrets
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pose_runtime.errors import BundleError
from pose_runtime.store.durable import remove_file, replace_file, replace_link

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}-[0-9a-f]{12}\Z")
"""Of an installed bundle; its folder is NAME.pose."""

CURRENT, PREVIOUS, RECORD = "current", "previous", "switch.json"
_MAX_RECORD_BYTES = 1 << 16
_Name = Annotated[str, Meta(pattern=rf"^{NAME.pattern}")]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One switch.

    Attributes:
        id: tells it from every other switch.
        to: name of the bundle.
        back_to: of the one that served before; None where there was none.
        state: on trial until a service confirms it; `ended` once it was confirmed or needed no trial; `failed` says
            nothing more than `reason`, for `current` is `back_to` again.
        begun: names of the services that have begun to serve it.
        reason: why it failed.
    """

    id: str
    to: _Name
    back_to: _Name | None
    state: Literal["trial", "ended", "failed"]
    begun: tuple[str, ...] = ()
    reason: str | None = None


class Switch:
    """The links and the record of a store. Whoever changes them holds the store's lock.

    Methods raise BundleError for what is not the store's own, and OSError for what cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def current(self) -> str | None:
        """Name of the bundle that serves; None before the first was activated."""
        return self._target(CURRENT)

    @property
    def previous(self) -> str | None:
        """Name of the bundle to go back to; None where there is none."""
        current, record = self.current, self.record
        back_to = record.back_to if record and record.to == current else self._target(PREVIOUS)
        return back_to if back_to != current else None

    @property
    def record(self) -> Record | None:
        """The last switch, whether it came about or not."""
        path = self._root / RECORD
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX_RECORD_BYTES), type=Record)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise BundleError(f"{path}: cannot be read: {error}; if it is damaged, remove it") from error

    @property
    def trial(self) -> Record | None:
        """The trial that the present bundle is on."""
        record = self.record
        return record if record and record.state == "trial" and record.to == self.current else None

    @property
    def named(self) -> set[str]:
        """Bundles that serve, or that a rollback or the end of a trial may lead to."""
        record = self.record
        back_to = record.back_to if record and record.state != "failed" else None
        return {name for name in (self.current, self._target(PREVIOUS), back_to) if name is not None}

    def to(self, name: str, *, on_trial: bool) -> None:
        """Switch to another bundle than the present one, which is none on trial."""
        record = Record(
            id=secrets.token_hex(8), to=name, back_to=self.current, state="trial" if on_trial else "ended"
        )  # fmt: skip
        self._settle()
        self._write(record)
        replace_link(self._root / CURRENT, _folder(name))
        if not on_trial:
            self._settle()

    def begin(self, trial: Record, service: str) -> None:
        """A service begins to serve the bundle on trial."""
        self._write(msgspec.structs.replace(trial, begun=(*trial.begun, service)))

    def confirm(self, trial: Record) -> None:
        """The bundle stays."""
        self._write(msgspec.structs.replace(trial, state="ended"))
        self._settle()

    def fail(self, trial: Record, reason: str) -> bool:
        """Go back to where the bundle on trial came from; False if that is nowhere: it stays, and its trial goes on."""
        if trial.back_to is None:
            return False
        replace_link(self._root / CURRENT, _folder(trial.back_to))
        self._write(msgspec.structs.replace(trial, state="failed", reason=reason))
        return True

    def _settle(self) -> None:
        """Do what is left of a switch that has ended."""
        record = self.record
        if record and record.state == "ended":
            if record.to == self.current and record.back_to is not None:
                replace_link(self._root / PREVIOUS, _folder(record.back_to))
            remove_file(self._root / RECORD)

    def _write(self, record: Record) -> None:
        replace_file(self._root / RECORD, msgspec.json.encode(record))

    def _target(self, link: str) -> str | None:
        path = self._root / link
        try:
            name = str(path.readlink()).removesuffix(".pose")
        except FileNotFoundError:
            return None
        except OSError as error:
            what = "is no link to a bundle of this store" if error.errno == errno.EINVAL else error.strerror
            raise BundleError(f"{path}: {what}") from error
        if not NAME.match(name):
            raise BundleError(f"{path}: is no link to a bundle of this store, but to {name}")
        return name


def _folder(name: str) -> str:
    return f"{name}.pose"
