"""What serves: a bundle, where it came from, and a pipeline that runs one of its graphs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pose_runtime.base_pipeline import BasePipeline
from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.config import RunConfig
from pose_runtime.errors import PoseError
from pose_runtime.manifest import GraphRole
from pose_runtime.pipeline import open_pipeline
from pose_runtime.store import BundleStore, Serving
from pose_runtime.store.signature import configured_key
from pose_runtime.store.switch import CURRENT

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A bundle at work.

    Attributes:
        bundle: loaded.
        pipeline: on one of its graphs.
        place: its place in a bundle store, if it comes from one.
    """

    bundle: Bundle
    pipeline: BasePipeline
    place: Serving | None = None

    @property
    def role(self) -> GraphRole:
        """Of the graph that runs."""
        return self.pipeline.choice.role if self.pipeline.choice else "reference"

    def confirm(self) -> None:
        """It gave healthy results: the next start takes it again."""
        if self.place is not None and self.place.on_trial:
            try:
                self.place.confirm()
            except PoseError as error:  # a full disk; what serves goes on
                _LOG.error("bundle store: %s", error)

    def give_up(self, reason: str) -> None:
        """It gave none: the next start takes the one before."""
        if self.place is not None:
            try:
                self.place.give_up(reason)
            except PoseError as error:
                _LOG.error("bundle store: %s", error)
            self.leave()

    def leave(self) -> None:
        """Its files may go."""
        if self.place is not None:
            self.place.close()


class Opener:
    """Opens the bundle that the settings name, anew at each call: a link may have been turned.

    Args:
        config: all settings.
        service: name by which a store tells services that share it apart.
    """

    def __init__(self, config: RunConfig, service: str) -> None:
        self._config = config
        self._service = service
        path = Path(config.bundle)
        self._store = BundleStore(path.parent, key=configured_key(None)) if is_current(path) else None

    def __call__(self) -> Served:
        """The bundle, and a pipeline on it.

        A bundle on trial that cannot be opened is given up for the one before it.

        Raises:
            BundleError, EngineError: as `load_bundle` and `open_pipeline` do.
        """
        if self._store is None:
            bundle = load_bundle(self._config.bundle)
            return Served(bundle, self._pipeline(bundle))
        place = self._store.begin_serving(self._service)
        if place.note:
            _LOG.warning("bundle store: %s", place.note)
        try:
            return Served(place.bundle, self._pipeline(place.bundle), place)
        except PoseError as error:
            was_on_trial = place.on_trial
            if was_on_trial:
                _LOG.error("%s cannot serve: %s", place.installed.name, error)
                place.give_up(str(error))
            place.close()
            if not was_on_trial:
                raise
        return self()  # not on trial

    def _pipeline(self, bundle: Bundle) -> BasePipeline:
        config = self._config
        pipeline = open_pipeline(bundle, config.device, threads=config.threads, graph=config.graph, cache=config.cache)
        _LOG.info("%s on %s, graph %s", bundle.path.name, pipeline.device_name, pipeline.choice)
        return pipeline


def is_current(path: Path) -> bool:
    """Whether a path is the link of a store to the bundle that serves."""
    return path.name == CURRENT and path.is_symlink() and path.readlink().suffix == ".pose"
