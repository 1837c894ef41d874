"""The networks that have a name, as a table: for `pose-export --list` and docs/zoo.md. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pose_export import networks
from pose_export.download import PACKAGE
from pose_export.networks import Entry, Source


class Row(NamedTuple):
    """One network in words."""

    name: str
    short: str
    method: str
    year: str
    input: str
    parameters: str
    macs: str
    accuracy: str
    weights: str
    licence: str


TITLES = Row(
    name="name",
    short="short names",
    method="method",
    year="year",
    input="input W x H",
    parameters="parameters",
    macs="multiply-accumulates",
    accuracy="published accuracy",
    weights="weights",
    licence="licence",
)


def rows() -> list[Row]:
    """All networks, by name."""
    return [_row(entry) for entry in networks.entries()]


def papers() -> dict[str, list[Entry]]:
    """Every paper with its networks, oldest first."""
    found: dict[str, list[Entry]] = {}
    for entry in sorted(networks.entries(), key=lambda entry: (entry.year, entry.paper, entry.name)):
        found.setdefault(entry.paper, []).append(entry)
    return found


def notes() -> Iterator[tuple[str, list[Entry]]]:
    """Why figures differ from what was published, with the networks of which that is true."""
    found: dict[str, list[Entry]] = {}
    for entry in networks.entries():
        if entry.note:
            found.setdefault(entry.note, []).append(entry)
    yield from found.items()


def short_names(entry: Entry) -> list[str]:
    """What else `--model` takes for it."""
    return [name for name in networks.names() if networks.find(name) is entry and name != entry.name]


def _row(entry: Entry) -> Row:
    fetched = is_fetched(entry)
    return Row(
        name=entry.name,
        short=", ".join(short_names(entry)) or "-",
        method=entry.method,
        year=str(entry.year),
        input="{} x {}".format(*entry.size_wh),
        parameters=f"{entry.parameters / 1e6:.2f} M",
        macs=f"{entry.macs / 1e9:.2f} G",
        accuracy="; ".join(f"{one.metric} {one.value:g} ({one.source})" for one in entry.accuracy) or "-",
        weights=_where(entry.sources[0]) if fetched else "by hand" if entry.sources else "none published",
        licence=", ".join(dict.fromkeys(source.licence for source in entry.sources)) or "-",
    )


def is_fetched(entry: Entry) -> bool:
    """Whether `pose-export --model` gets the weights by itself."""
    return any(source.algorithm or source.url.startswith(PACKAGE) for source in entry.sources)


def _where(source: Source) -> str:
    return "with jetpose" if source.url.startswith(PACKAGE) else "downloaded"
