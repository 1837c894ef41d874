"""Files that hold passwords and keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pose_runtime.errors import SinkError

_MOST_BYTES = 1 << 16


def read_secret(path: Path) -> str:
    """A secret file's text.

    Raises:
        SinkError: it is missing, no plain file, too large, not UTF-8, or others than its owner and group may read it.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise SinkError(f"{path}: wanted a plain file")
            if found.st_mode & stat.S_IROTH:
                raise SinkError(f"{path}: everybody may read this secret; chmod 600 {path}")
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise SinkError(f"{path}: got over {_MOST_BYTES} bytes, wanted a secret")
        return data.decode()
    except OSError as error:
        raise SinkError(f"{path}: cannot read it: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SinkError(f"{path}: is no UTF-8 text") from None


def read_credentials(path: Path) -> tuple[str, str]:
    """User and password, the first two lines of a file. Raises SinkError, also if there are not these two."""
    lines = read_secret(path).splitlines()
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) != 2 or not all(lines):
        raise SinkError(f"{path}: got {len(lines)} lines, wanted two: user and password")
    return lines[0], lines[1]
