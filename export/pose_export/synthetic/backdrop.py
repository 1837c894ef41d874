"""Backdrops: what stands behind synthetic people, in an endless supply."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pose_export.synthetic.backdrops import flat, foliage, room, sport, street
from pose_export.synthetic.backdrops.base import Backdrop, Draw, Random
from pose_export.synthetic.backdrops.folder import Pictures
from pose_export.synthetic.backdrops.panorama import Panoramas
from pose_export.synthetic.view import View
from pose_runtime.errors import ExportError

PANORAMA_SHARE, FOLDER_SHARE = 0.5, 0.5
"""Of all backdrops, those cut from panoramas, and from the user's pictures, where there are any."""


DRAWN: dict[str, tuple[float, Draw]] = {
    "room": (0.3, room.draw),
    "street": (0.2, street.draw),
    "foliage": (0.17, foliage.draw),
    "field": (0.08, sport.field),
    "posters": (0.05, flat.posters),
    "heap": (0.06, flat.heap),
    "bars": (0.04, flat.bars),
    "studio": (0.07, flat.studio),
    "noise": (0.03, flat.noise),
}
"""Kinds that need no files, and how often each is drawn."""

ONLY_HELD_OUT: dict[str, tuple[float, Draw]] = {"hall": (0.15, sport.hall)}
"""Kinds that validation alone sees."""


class Backdrops:
    """All kinds of backdrop, drawn by chance.

    Args:
        panoramas: a folder as `Panoramas` takes it.
        folder: of the user's own pictures without people.
        held_out: backdrops for validation, none of which training sees.

    Raises:
        ExportError, SourceError: a folder that cannot be used.
    """

    def __init__(self, *, panoramas: Path | None = None, folder: Path | None = None, held_out: bool = False) -> None:
        self._draws: dict[str, tuple[float, Draw]] = {**DRAWN, **(ONLY_HELD_OUT if held_out else {})}
        if panoramas is not None:
            self._draws["panorama"] = PANORAMA_SHARE, Panoramas(panoramas, held_out).draw
        pictures = None if folder is None else Pictures(folder, held_out)
        if pictures is not None and pictures.files:
            self._draws["folder"] = FOLDER_SHARE, pictures.draw

    @property
    def shares(self) -> Mapping[str, float]:
        """How often each kind is drawn; sum 1."""
        total = sum(share for share, _ in self._draws.values())
        return {kind: share / total for kind, (share, _) in self._draws.items()}

    def draw(self, rng: Random, view: View, *, clear: float = 4.0, kind: str | None = None) -> Backdrop:
        """One backdrop.

        Args:
            rng: decides everything.
            view: the camera; the floor of the backdrop agrees with it.
            clear: metres ahead of the camera where nothing but floor may be.
            kind: one of `shares`; None draws it.

        Raises:
            ExportError: no such kind, or no picture of the folder can be read.
        """
        shares = self.shares
        if kind is None:
            kind = str(rng.choice(list(shares), p=list(shares.values())))
        if kind not in self._draws:
            raise ExportError(f"backdrop {kind!r}: no such kind here; there are {', '.join(shares)}")
        return self._draws[kind][1](rng, view, clear)
