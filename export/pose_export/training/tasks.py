"""From a recipe to what the loop needs: network, method, data and validation, as the network's preset wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from pose_calibration.plan import MAX_BYTES, decode_plan
from pose_export import networks
from pose_export.checkpoints import load_fitting
from pose_export.networks import Entry
from pose_export.presets import Preset, parse_tree
from pose_export.presets import read_tree as read_preset
from pose_export.training.augment import Augmentation, Augmenter
from pose_export.training.crop import CropAugmentation, CropAugmenter
from pose_export.training.loader import Loader, normalise
from pose_export.training.methods import AnyMethod
from pose_export.training.parallel import ALONE, Group
from pose_export.training.recipe import Recipe
from pose_export.training.source import OnBad, open_data, open_mix
from pose_export.training.trainer import Batch, Task
from pose_export.training.validate import Validator
from pose_runtime.decode import PafDecoder
from pose_runtime.errors import ExportError
from pose_runtime.geometry import Crop
from pose_runtime.toml_files import Tree, explained, read_small

Tell = Callable[[str], None]
"""Takes a line about what is going on."""
Wrap = Callable[[nn.Module], nn.Module]
"""Makes of a network what trains, as `Task.wrap`."""


def build_task(recipe: Recipe, *, start: bool, workers: int, on_bad: OnBad, tell: Tell, group: Group = ALONE) -> Task:
    """Everything that the recipe names.

    Args:
        recipe: of the run.
        start: whether the run begins: then `recipe.init` is loaded.
        workers: processes that prepare data; 0 prepares it in this one.
        on_bad: told of each record that is left out because it is damaged; None refuses it.
        tell: is told what was found.
        group: the processes that share each batch.

    Raises:
        ExportError: an unknown network, a size that it cannot take, wrong parameters, no data, a damaged checkpoint.
    """
    entry = networks.find(recipe.model)
    size_wh = _size(entry, recipe)
    preset = _preset(entry)
    method = _method(recipe, preset)
    network = _network(entry, recipe, start=start, tell=tell)
    shares = open_mix(recipe.data, on_bad=on_bad)
    for share in shares:
        tell(f"data: {share.source.description}")
    wrap = _roundings(entry, recipe, network, tell)
    prepare = _augmenter(recipe, preset, size_wh)
    loader = Loader(
        shares,
        prepare,
        method,
        batch_size=recipe.batch,
        seed=recipe.seed,
        workers=workers,
        part=group.part(recipe.batch),
        on_bad=on_bad,
    )
    return Task(
        network=network,
        prepare=_normaliser(preset),
        loss=lambda outputs, targets: method.loss(outputs, dict(targets)),
        batches=lambda first: _batches(loader, first),
        validate=_validation(recipe, preset, entry, size_wh, wrap, on_bad, tell),
        wrap=wrap,
    )


def _size(entry: Entry, recipe: Recipe) -> tuple[int, int]:
    size_wh = recipe.size_wh or entry.size_wh
    if any(side % entry.step for side in size_wh):
        raise ExportError(f"size: got {size_wh[0]}x{size_wh[1]}, {entry.name} wants multiples of {entry.step}")
    return size_wh


def _preset(entry: Entry) -> Preset:
    tree = {**read_preset(entry.preset), "skeleton": entry.skeleton}
    preset = parse_tree(tree, f"preset {entry.preset}")
    if preset.input.colour == "gray":
        raise ExportError(f"model {entry.name}: takes grey pictures, which are not trained on")
    return preset


def _method(recipe: Recipe, preset: Preset) -> AnyMethod:
    """Of the decoder's family and limbs and the network's skeleton, unless the recipe says otherwise."""
    decoder = preset.decoder
    defaults: Tree = {"method": decoder.__struct_config__.tag, "skeleton": preset.skeleton}
    if isinstance(decoder, PafDecoder):
        defaults["limbs"] = decoder.limbs
    method: AnyMethod = _settings({**defaults, **recipe.method}, AnyMethod, "method")
    return method


def _augmenter(recipe: Recipe, preset: Preset, size_wh: tuple[int, int]) -> Augmenter | CropAugmenter:
    """Crops of one person where the preset crops, whole scenes elsewhere."""
    rule = preset.input.resize
    if isinstance(rule, Crop):
        tree = {"rule": msgspec.to_builtins(rule), **recipe.augment, "size_wh": size_wh}
        return CropAugmenter(_settings(tree, CropAugmentation, "augment"))
    return Augmenter(_settings({**recipe.augment, "size_wh": size_wh}, Augmentation, "augment"))


def _settings(tree: Tree, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        raise ExportError(f"recipe: {explained(error, where)}") from error


def _network(entry: Entry, recipe: Recipe, *, start: bool, tell: Tell) -> nn.Module:
    torch.manual_seed(recipe.seed)
    network = networks.build(entry)
    if start and recipe.init is not None:
        for line in load_fitting(network, Path(recipe.init), entry.names):
            tell(f"{recipe.init}: {line}")
    return network


def _roundings(entry: Entry, recipe: Recipe, network: nn.Module, tell: Tell) -> Wrap:
    """What the network runs as: itself, or with the roundings of the recipe's plan."""
    if recipe.qat is None:
        return lambda plain: plain
    if recipe.init is None:
        raise ExportError("--qat fine-tunes trained weights, whose batch norms it keeps; give --init CHECKPOINT")
    from pose_export.training.qat import quantise  # only here are onnx and onnxruntime needed, which load slowly

    path = Path(recipe.qat)
    plan = decode_plan(read_small(path, "INT8 plan", MAX_BYTES, error=ExportError), str(path))
    tell(f"{path}: {len(plan.int8)} layers with INT8 weights")
    return quantise(network, plan, str(path), outputs=entry.outputs, step=entry.step)


def _normaliser(preset: Preset) -> Callable[[Tensor], Tensor]:
    """From R, G, B grey levels to the preset's colours, mean and standard deviation."""
    mean, std, is_bgr = preset.input.mean, preset.input.std, preset.input.colour == "bgr"
    return lambda images: normalise(images.flip(1) if is_bgr else images, mean, std)


def _batches(loader: Loader, first: int) -> Iterator[Batch]:
    """All batches from number `first` of the run on."""
    epoch, position = divmod(first, len(loader))
    for number in count(epoch):
        for batch in loader.epoch(number, position):
            yield batch.images, batch.targets
        position = 0


def _validation(
    recipe: Recipe, preset: Preset, entry: Entry, size_wh: tuple[int, int], wrap: Wrap, on_bad: OnBad, tell: Tell
) -> Callable[[nn.Module], float] | None:
    wanted = recipe.validation
    if wanted.data is None:
        return None
    source = open_data(wanted.data, on_bad=on_bad)
    tell(f"validation: {source.description}")
    validator = Validator(source, wanted.images, preset, entry.outputs, size_wh)
    return lambda network: validator(wrap(network)).ap
