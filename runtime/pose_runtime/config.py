"""What `pose-run` is told: one tree of settings from a TOML file and the command line, typed and bounded.

    bundle = "/var/lib/jetpose/bundles/current"

    [[source]]
    address = "camera:0"

    [serve]
    address = "127.0.0.1:8080"

Unknown keys are errors. Secrets stand in files of their own, which the settings name.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from pose_runtime.errors import ConfigError
from pose_runtime.manifest import GraphRole
from pose_runtime.networks import DEFAULT
from pose_runtime.sinks.jsonl import JsonOptions
from pose_runtime.sinks.live_video import VideoOptions
from pose_runtime.sinks.mqtt import MqttOptions
from pose_runtime.sinks.page import ServeOptions
from pose_runtime.sources.live import SourceOptions
from pose_runtime.toml_files import Tree, explained, parse_toml, read_small
from pose_runtime.tracking import SmoothOptions, TrackOptions

MAX_BYTES = 1 << 20
MAX_SOURCES = 64

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class RunConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a run; a table that is not there leaves its part out.

    Attributes:
        bundle: folder NAME.pose/, or the name of a network that comes with jetpose.
        device: auto, cpu or cuda:N.
        graph: of the bundle; None chooses.
        threads: of the network on a CPU; None for one per core.
        cache: folder of built engines; None for the usual one.
        min_score: people below it are left out.
        stuck_s: a frame, or a result on its way into a sink, that takes longer means that the run hangs.
        trial_s: in which a new bundle must give results, or the former one goes on.
        show: a window.
        source: where frames come from.
        track: ids over time.
        smooth: less jitter.
        json, save, serve, mqtt: where results go.
    """

    bundle: str = DEFAULT
    device: str = "auto"
    graph: GraphRole | None = None
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    cache: str | None = None
    min_score: float = 0.0
    stuck_s: Seconds = 10.0
    trial_s: Seconds = 30.0
    show: bool = False
    source: Annotated[tuple[SourceOptions, ...], Meta(max_length=MAX_SOURCES)] = ()
    track: TrackOptions | None = None
    smooth: SmoothOptions | None = None
    json: JsonOptions | None = None
    save: VideoOptions | None = None
    serve: ServeOptions | None = None
    mqtt: MqttOptions | None = None

    @property
    def is_live(self) -> bool:
        """Whether stages run in threads of their own; else one file goes through one after the other."""
        return len(self.source) != 1 or self.source[0].is_live or bool(self.serve or self.mqtt)

    @property
    def has_sinks(self) -> bool:
        """Whether anybody gets the results."""
        return bool(self.show or self.json or self.save or self.serve or self.mqtt)


def load_config(file: Path | None, over: Mapping[str, Any]) -> RunConfig:
    """The settings of a file, if there is one, with others over them.

    Args:
        file: TOML.
        over: tree of settings; a table is merged with the file's key by key, any other value takes its place.

    Raises:
        ConfigError: the file cannot be read or is too large, a key is unknown, a value of the wrong type or out of
            bounds, or two sources are given one name.
    """
    tree = (
        {}
        if file is None
        else parse_toml(read_small(file, "settings", MAX_BYTES, error=ConfigError), str(file), error=ConfigError)
    )
    try:
        config = msgspec.convert(_merged(tree, over), RunConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file or 'settings'}: {explained(error)}") from error
    return msgspec.structs.replace(config, source=_named(config.source))


def as_toml(config: RunConfig) -> str:
    """All settings with their defaults, as a file of them would be."""
    import tomli_w  # nothing else needs it

    return tomli_w.dumps(_without_none(msgspec.to_builtins(config)))


def _named(sources: Sequence[SourceOptions]) -> tuple[SourceOptions, ...]:
    """Every source with a name of its own; one that was given none gets a number where its address makes none."""
    names = [source.name for source in sources if source.name]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"source.name: {twice!r} is given twice; results are told apart by it")
    named = []
    for source in sources:
        if not source.name:
            numbers = (f"{source.title}-{number}" for number in itertools.count(2))
            name = next(name for name in itertools.chain((source.title,), numbers) if name not in names)
            names.append(name)
            source = msgspec.structs.replace(source, name=name)
        named.append(source)
    return tuple(named)


def _read(file: Path) -> Tree:
    return parse_toml(read_small(file, "settings", MAX_BYTES, error=ConfigError), str(file), error=ConfigError)


def _merged(below: Tree, over: Mapping[str, Any]) -> Tree:
    merged = dict(below)
    for key, value in over.items():
        present = merged.get(key)
        is_table = isinstance(value, Mapping) and isinstance(present, dict)
        merged[key] = _merged(present, value) if is_table else value  # type: ignore[arg-type]  # both are tables then
    return merged


def _without_none(tree: Any) -> Any:
    """TOML has no null: what is not set is not there."""
    if isinstance(tree, (list, tuple)):
        return [_without_none(value) for value in tree]
    if isinstance(tree, dict):
        return {key: _without_none(value) for key, value in tree.items() if value is not None}
    return tree
