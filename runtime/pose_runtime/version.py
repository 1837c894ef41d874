"""The version of jetpose that runs, as its installed distribution says."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Such as `0.1.0`; `unknown` where the source runs without being installed."""
    try:
        return metadata.version("jetpose")
    except metadata.PackageNotFoundError:
        return "unknown"
