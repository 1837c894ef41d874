"""The pages name every option, preset, skeleton and network that there is, and none that there is not."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import typer

from pose_export.presets import load_preset, parse_tree, preset_names
from pose_runtime.decode import Decoder
from pose_runtime.geometry import Resize
from pose_runtime.skeletons import SKELETONS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS.parent / "README.md", *(page for page in DOCS.glob("*.md") if page.name != "api.md")]
COMMANDS = {
    "pose-export": "pose_export.cli",
    "pose-info": "pose_runtime.cli.info",
    "pose-build": "pose_runtime.cli.build",
    "pose-bundle": "pose_runtime.cli.bundle",
    "pose-check": "pose_runtime.cli.check",
    "pose-run": "pose_runtime.cli.run",
    "pose-bench": "pose_runtime.cli.bench",
    "pose-doctor": "pose_runtime.cli.doctor",
    "pose-train": "pose_export.cli_train",
    "pose-eval": "pose_calibration.cli_eval",
}


@cache
def options(command: str) -> set[str]:
    """All long options that a command, or one of its sub-commands, takes."""
    click = typer.main.get_command(importlib.import_module(COMMANDS[command]).app)
    parameters = [parameter for one in (click, *getattr(click, "commands", {}).values()) for parameter in one.params]
    return {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)
            if name.startswith("--")} | {"--help"}  # fmt: skip


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def table(page: str, head: str) -> list[str]:
    """The first cells of the table whose header line starts with `head`."""
    rows = read(page).split(f"\n{head}", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [row.split("|")[1].strip() for row in rows]


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_use_options_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            words = (
                shlex.split(line.removeprefix("$ ").removeprefix("sudo ").split(" | ")[0], comments=True)
                if "pose-" in line
                else [""]
            )
            if words[:1] and words[0] in COMMANDS:
                used = {word.split("=")[0] for word in words if word.startswith("--")}
                assert used <= options(words[0]), line


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("own", [[], ["SOURCE=a.jpg"], ["ONNX=a.onnx", "PRESET=tf-pose", "SOURCE=b/"]])
def test_the_demo_uses_options_that_exist(own: list[str]) -> None:
    done = subprocess.run(["make", "-n", "demo", *own], cwd=DOCS.parent, capture_output=True, text=True, check=True)
    lines = [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines() if "/pose-" in line]
    commands = [(Path(words[0]).name, words) for words in lines]
    assert [name for name, _ in commands] == ["pose-export"] * (len(own) == 3) + ["pose-info", "pose-check", "pose-run"]
    for name, words in commands:
        assert {word for word in words if word.startswith("--")} <= options(name)
    saved = commands[-1][1][commands[-1][1].index("--save") + 1]
    assert saved == ("demo-out/annotated" if own else "demo-out/annotated.mp4")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_the_demo_of_a_network_wants_its_preset() -> None:
    done = subprocess.run(["make", "-n", "demo", "ONNX=a.onnx"], cwd=DOCS.parent, capture_output=True, text=True)
    assert done.returncode != 0
    assert "usage: make demo ONNX=network.onnx PRESET=tf-pose" in done.stderr


@pytest.mark.parametrize(
    ("pages", "command"),
    [
        (("bench.md",), "pose-bench"),
        (("build.md",), "pose-build"),
        (("doctor.md",), "pose-doctor"),
        (("run.md",), "pose-run"),
        (("export.md", "int8.md"), "pose-export"),
        (("train.md",), "pose-train"),
        (("eval.md",), "pose-eval"),
    ],
)
def test_option_tables_are_whole(pages: tuple[str, ...], command: str) -> None:
    cells = [cell for name in pages for cell in table(name, "| option |")]
    named = set(re.findall(r"--[a-z0-9-]+", " ".join(cells)))
    assert named | {"--simplify"} == options(command) | {"--simplify"}


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_presets_and_skeletons() -> None:
    assert {cell.strip("`") for cell in table("export.md", "| preset |")} == set(preset_names())
    listed = read("export.md").split("\nSkeletons: ", 1)[1].split("\n\n", 1)[0]
    assert quoted(listed) == set(SKELETONS)
    rows = read("export.md").split("\n| preset |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    for row in rows:
        name, _, skeleton = (cell.strip(" `") for cell in row.strip("|").split("|"))
        assert load_preset(name).skeleton == skeleton


def test_preset_example_is_a_preset() -> None:
    tomllib = pytest.importorskip("tomllib")
    (example,) = re.findall(r"```toml\n(.*?)```", read("export.md"), re.DOTALL)
    assert parse_tree(tomllib.loads(example), "the example").network == "my-net"


def test_recipe_examples_are_recipes() -> None:
    plain, boxes, joint = re.findall(r"```toml\n(.*?)```", read("train.md"), re.DOTALL)
    pytest.importorskip("torch")
    import msgspec

    from pose_export.training.methods import AnyMethod
    from pose_export.training.recipe import parse

    tomllib = pytest.importorskip("tomllib")
    assert parse(tomllib.loads(plain), "the example").optimiser.lr == 2e-3
    assert msgspec.convert({"method": "boxes"} | tomllib.loads(boxes)["method"], AnyMethod).stride == 8
    assert len(msgspec.convert(tomllib.loads(joint)["method"], AnyMethod).parts) == 2


@pytest.mark.parametrize("path", sorted((DOCS / "training").glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_of_our_runs_are_recipes(path: Path) -> None:
    pytest.importorskip("torch")
    from pose_export.training.recipe import parse, read_tree

    assert path.stem.endswith(parse(read_tree(path), path.name).model)


@pytest.mark.parametrize(("union", "head"), [(Decoder, "| `family` |"), (Resize, "| `rule` |")])
def test_keys_of_decoders_and_rules(union: object, head: str) -> None:
    rows = read("export.md").split(f"\n{head}", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    found = {row.split("|")[1].strip(" `"): quoted(row) for row in rows}
    kinds = {kind.__struct_config__.tag: kind for kind in union.__args__}  # type: ignore[attr-defined]
    assert found.keys() == kinds.keys()
    for tag, kind in kinds.items():
        assert set(kind.__struct_fields__) <= found[tag], tag


@pytest.mark.parametrize("name", ["api", "zoo"])
def test_generated_page_is_current(name: str) -> None:
    spec = importlib.util.spec_from_file_location(f"make_{name}", DOCS / f"make_{name}.py")
    assert spec is not None and spec.loader is not None  # noqa: PT018
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert make.page() == read(f"{name}.md"), "run make docs"
