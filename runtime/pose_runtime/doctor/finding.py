"""What one check found."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Status = Literal["ok", "warning", "fault", "not applicable"]


class Finding(Struct, frozen=True, kw_only=True):
    """The answer of one check.

    Attributes:
        check: its name.
        status: `fault` where pose-run does not work here, or on a Jetson not on its GPU; `warning` where it works, but
            less well or not all of it; `not applicable` where this machine has no such thing.
        text: what was found, one line.
        remedy: a command to run, or where there is none, what to do; None where all is well.
    """

    check: str
    status: Status
    text: str
    remedy: str | None = None
