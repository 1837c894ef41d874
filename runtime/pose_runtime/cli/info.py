"""pose-info BUNDLE: what a bundle holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.cli._common import BundleArgument, Version, new_app, one_line, run_app
from pose_runtime.manifest import Graph, Manifest

app = new_app()
Row = tuple[str, str]


@app.command()
def info(
    bundle: BundleArgument,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest and its digest as JSON.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Verify a bundle and print what is in it."""
    loaded = load_bundle(bundle)
    if as_json:
        tree = {"path": str(loaded.path), "sha256": loaded.digest, "manifest": loaded.manifest}
        print(msgspec.json.format(msgspec.json.encode(tree), indent=2).decode())
        return
    pairs = [(name, one_line(value)) for name, value in rows(loaded)]
    if sys.stdout.isatty():
        _print_table(pairs)
    else:
        width = max(len(name) for name, _ in pairs)
        print("\n".join(f"{name:{width}}  {value}" for name, value in pairs))


def _print_table(pairs: list[Row]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name), Text(value))  # Text: nothing in a bundle is markup
    Console().print(table)


def rows(bundle: Bundle) -> Iterator[Row]:
    """Name and value of everything worth showing, in order."""
    manifest = bundle.manifest
    network, weights = manifest.network, manifest.network.weights
    yield "bundle", f"{bundle.path} (jetpose {manifest.jetpose}, format {manifest.version})"
    yield "network", network.name
    yield "size", f"{network.parameters / 1e6:.3f} M parameters, {network.macs / 1e9:.3f} G multiply-accumulates"
    yield "weights", f"{weights.source}, licence {weights.licence}, SHA-256 {weights.sha256}"
    yield from _input_rows(manifest)
    for i, output in enumerate(manifest.outputs):
        first, last = output.channels
        place = f"{output.tensor} channels {first}-{last - 1}"
        yield f"output {i}", f"{output.role}: {place}, one pixel per {output.stride:g} of the input"
    skeleton = manifest.skeleton
    yield "skeleton", f"{skeleton.name}: {len(skeleton.names)} keypoints, {len(skeleton.limbs)} limbs"
    yield "keypoints", " ".join(skeleton.names)
    yield "decoder", _fields(manifest.decoder)
    for role, graph in manifest.graphs.items():
        yield from _graph_rows(role, graph)
    if manifest.detector:
        yield "people by", _fields(manifest.detector)
    for i, stage in enumerate(manifest.stages):
        yield "crops of", f"stage{i + 2} {_fields(stage)}"
    for name, part in bundle.parts.items():
        sizes = (
            f"{part.manifest.network.macs / 1e9:.3f} G multiply-accumulates, graphs {', '.join(part.manifest.graphs)}"
        )
        yield name, f"{part.manifest.network.name}: {sizes}; more by pose-info {part.path}"
    people = sum(len(frame.scores) for frame in manifest.check.frames)
    frames = len(manifest.check.frames)
    yield "check", f"{frames} frames with {people} people, OKS at least {manifest.check.min_oks:g}"
    yield "manifest.json", f"SHA-256 {bundle.digest}"
    for name, digest in manifest.files.items():
        yield name, f"SHA-256 {digest}"


def _input_rows(manifest: Manifest) -> Iterator[Row]:
    network_input = manifest.input
    width, height = network_input.size_wh
    size = f"{width} x {height} (width x height)" if width else "any size"
    batch = f"batch {network_input.batch}" if network_input.batch else "any batch"
    yield "input", f"{network_input.tensor}: {size}, {batch}, {network_input.colour}"
    yield "normalised", f"(pixel - {list(network_input.mean)}) / {list(network_input.std)}"
    yield "resize", _fields(network_input.resize)


def _graph_rows(role: str, graph: Graph) -> Iterator[Row]:
    yield f"graph {role}", f"{graph.file}: {graph.precision}, INT8 share of the MACs {100 * graph.int8_mac_share:.1f} %"
    if graph.calibration:
        yield f"calibration {role}", graph.calibration
    for one in graph.accuracy:
        values = f"FP32 {one.reference:.2f}, {role} {one.value:.2f}, loss {one.reference - one.value:.2f}"
        yield f"accuracy {role}", f"{one.metric}: {values} ({one.executor}, on {one.data})"


def _fields(struct: Any) -> str:
    """A struct as `tag key=value key=value`, the tag if it has one; long lists are cut."""
    tree: dict[str, Any] = msgspec.to_builtins(struct)
    tag = str(tree.pop(struct.__struct_config__.tag_field, ""))
    values = {key: str(value).replace(" ", "") for key, value in tree.items()}
    return " ".join(
        [*filter(None, [tag]), *(f"{k}={v if len(v) <= 60 else v[:57] + '...'}" for k, v in values.items())]
    )


def main() -> None:
    """Entry point."""
    run_app(app)
