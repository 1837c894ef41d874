from __future__ import annotations

from html.parser import HTMLParser

import onnx

from judging import KnownJudge, chain, plan
from pose_calibration.explain import layers, lines
from pose_calibration.search import Budget, search
from pose_calibration.search_report import curve_lines, search_page
from pose_runtime.bundle import load_bundle


class Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def text_of(page: bytes) -> str:
    parser = Words()
    parser.feed(page.decode())
    return " ".join(parser.words)


def page(costs: dict[str, float], budget: Budget) -> tuple[str, list[str]]:
    found = search(chain(), [plan()], KnownJudge(costs), budget, all_blocks=True, tell=lambda _: None)  # type: ignore[arg-type]
    manifest = load_bundle("lightweight-tiny").manifest
    return text_of(search_page(manifest, chain(), found, budget, ("one picture is <b>grey</b>",))), curve_lines(found)


def test_a_search_that_ended_well() -> None:
    text, steps = page({"c3": 3.0}, Budget(0.5, 0.5))
    assert "one picture is <b>grey</b>" in text  # escaped on the page
    assert "No plan keeps the budget" not in text
    assert "went back" in text
    assert len(steps) >= 2
    assert "85.7 % INT8, blocks in FP16:  0, AP lost: tensorrt +3.00, cpu_int8 +3.00" in steps[0]


def test_a_search_that_failed_says_so() -> None:
    text, _ = page({f"c{i}": 1.0 for i in range(6)}, Budget(0.1, 0.7))
    assert "No plan keeps the budget" in text


def test_a_graph_without_finite_values_in_the_curve() -> None:
    judge = KnownJudge({}, broken="c2")
    found = search(chain(), [plan()], judge, Budget(0.5, 0.5), tell=lambda _: None)  # type: ignore[arg-type]
    assert any("tensorrt not finite" in line for line in curve_lines(found))


def test_layers_and_why() -> None:
    rows = {row.name: row for row in layers(chain(), plan(), {"c2": "it lost people"})}
    assert rows["c0"].precision == "int8"
    assert rows["c0"].why == ""
    assert rows["c6"].precision == "fp16"
    assert "output" in rows["c6"].why
    smaller = plan()
    fewer = type(smaller)(
        **{name: getattr(smaller, name) for name in smaller.__struct_fields__} | {"int8": ("c0",), "fp32": ("c1",)}
    )
    rows = {row.name: row for row in layers(chain(), fewer, {"c2": "it lost people"})}
    assert (rows["c1"].precision, rows["c2"].why) == ("fp32", "it lost people")


def test_explained_in_lines() -> None:
    *rows, share, others, _ = lines(chain())
    assert len(rows) == 7
    assert share.startswith("85.7 % of the multiply-accumulates of 7 weighted nodes")
    assert others.startswith("Relu: ")


def test_an_open_size_needs_one() -> None:
    model = chain()
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in ((2, "height"), (3, "width")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.checker.check_model(model)
    assert [row.macs for row in layers(model, size_wh=(16, 16))] == [row.macs for row in layers(chain())]
