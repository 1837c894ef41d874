"""Stacked hourglasses for MPII, and associative embedding's for COCO.

Princeton's code is BSD-3-Clause, pytorch-pose's GPL-3.0; its weights were packaged again under Apache-2.0.
"""

from __future__ import annotations

from pose_export.networks._registry import Entry, Names, Published, Source, register

DEAD = r".*(?:pre\.3|hgs\.\d+\..*|features\.\d+\.0)\.skip_layer\.conv\.(?:weight|bias)"
"""Projections that Princeton's networks hold and never use, as both widths are the same."""

_PAPER = "Newell et al., Stacked Hourglass Networks for Human Pose Estimation, ECCV 2016"
_ANIBALI = "https://github.com/anibali/pytorch-stacked-hourglass/releases/download/v0.0.0/"


def _princeton(stacks: int, parameters: int, macs: int, whole: str, value: float | None, *aliases: str) -> None:
    page = f"http://www-personal.umich.edu/~cnris/original_{stacks}hg/checkpoint.pt"
    source = Source(url=page, licence="BSD-3-Clause", file="checkpoint.pt")
    _add(
        f"hourglass_{stacks}.mpii_256x256",
        "hourglass:StackedHourglass",
        "hourglass",
        stacks,
        parameters,
        macs,
        f"the published checkpoint has {whole} M parameters, the others being of projections that nothing uses",
        () if value is None else (Published(metric="MPII val PCKh@0.5", value=value, source="the authors' table"),),
        (source,) if value is not None else (),
        *aliases,
    )


def _flat(stacks: int, parameters: int, macs: int, value: float | None, digest: str, *aliases: str) -> None:
    file = f"bearpaw_hg{stacks}-{digest}.pth"
    _add(
        f"hourglass_flat_{stacks}.mpii_256x256",
        "hourglass:FlatStackedHourglass",
        "hourglass-flat",
        stacks,
        parameters,
        macs,
        "",
        () if value is None else (Published(metric="MPII val PCKh@0.5", value=value, source="pytorch-pose's table"),),
        (Source(url=_ANIBALI + file, licence="Apache-2.0", file=file, algorithm="sha256", digest=digest),),
        *aliases,
    )


def _add(
    name: str,
    builder: str,
    preset: str,
    stacks: int,
    parameters: int,
    macs: int,
    note: str,
    accuracy: tuple[Published, ...],
    sources: tuple[Source, ...],
    *aliases: str,
) -> None:
    register(
        Entry(
            name=name,
            method="stacked hourglass",
            paper=_PAPER,
            year=2016,
            builder=builder,
            arguments={"stacks": stacks, "joints": 16},
            skeleton="mpii16",
            preset=preset,
            size_wh=(256, 256),
            sizes_wh=((256, 256),),
            step=64,
            outputs=(*(None,) * (stacks - 1), "heatmaps"),
            parameters=parameters,
            macs=macs,
            note=note,
            accuracy=accuracy,
            names=Names(ignored=(DEAD,)),
            sources=sources,
        ),
        *aliases,
    )


_princeton(1, 3_426_448, 5_150_343_168, "4.364", None, "hourglass_1")
_princeton(2, 6_570_400, 8_334_606_336, "8.429", 88.3, "hourglass_2")
_princeton(8, 25_434_112, 27_440_185_344, "32.819", 90.2, "hourglass", "hourglass_8")
_flat(1, 3_586_960, 5_804_654_592, None, "ce125879")
_flat(2, 6_730_912, 8_988_917_760, 86.95, "15e342d9")
_flat(8, 25_594_624, 28_094_496_768, 88.78, "90e5d470")
register(
    Entry(
        name="embedding_hourglass.coco_512",
        method="associative embedding",
        paper="Newell et al., Associative Embedding, NeurIPS 2017",
        year=2017,
        builder="hourglass:EmbeddingHourglass",
        arguments={"stacks": 4, "channels": 68},
        skeleton="coco17",
        preset="embedding-hourglass",
        size_wh=(512, 512),
        sizes_wh=((512, 512),),
        step=64,
        outputs=(None, None, None, "heatmaps_tags"),
        parameters=138_893_840,
        macs=222_210_031_616,
        note="HigherHRNet's table lists 277.8 M parameters and 206.9 GFLOPs: twice the parameters, and multiply-"
        "accumulates in units of 2^30",
        accuracy=(Published(metric="COCO test-dev AP", value=56.6, source="the paper, single scale"),),
        sources=(
            Source(
                url="https://drive.google.com/file/d/1xTiTAyEcd5vj3Ru8Uq_0AvlV-pOOlm8e/view",
                licence="BSD-3-Clause",
                file="checkpoint.pth.tar",
            ),
        ),
    ),
    "embedding_hourglass",
)
