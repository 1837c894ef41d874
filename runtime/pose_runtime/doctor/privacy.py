"""Whose machine it is stays out of what is sent away: user names, host names, private paths."""

from __future__ import annotations

import re
from typing import Any

_SYSTEM = "dev|proc|sys|etc|usr|var|opt|lib|lib64|bin|sbin|run|boot"
_HOME = re.compile(r"/(?:home|Users)/[^/\s'\":;,)]+|/root\b")
_PATH = re.compile(rf"(?<![\w.~/])/(?!(?:{_SYSTEM})(?:/|\b))[^\s'\":;,)/]+(?:/[^\s'\":;,)]*)?")


def scrub(value: Any, secrets: tuple[str, ...] = ()) -> Any:
    """A JSON value without private text, whatever wrote it.

    Home folders become `~`, other paths outside the system's own folders `(path)`, and each of `secrets` (the host's
    and the user's name, as whole words of three letters or more) `(private)`.
    """
    if isinstance(value, str):
        text = _PATH.sub("(path)", _HOME.sub("~", value))
        for secret in secrets:
            if len(secret) >= 3:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "(private)", text)
        return text
    if isinstance(value, dict):
        return {key: scrub(inner, secrets) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub(inner, secrets) for inner in value]
    return value
