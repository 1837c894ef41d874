"""The page: well-formed, whatever the names are, and showing what it was given."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from pose_calibration.curves import Curve, Level, Line
from pose_calibration.evaluation.result import (
    Changed,
    Evaluation,
    Figure,
    Group,
    Keypoint,
    LimbRow,
    OnPicture,
    Side,
    Stages,
)
from pose_calibration.report import Block, Layer, Report, SensitivityCurve, Step, html_page, picture_row
from pose_calibration.report.charts import chart, colours, strip, whisker
from pose_runtime.poses import Poses
from pose_runtime.skeletons import SKELETONS

HOSTILE = "</style><script>alert('1')</script>\"' onload=x & é\u202e"
VOID = {"meta", "img", "br", "input", "path", "circle", "rect"}


class Page(HTMLParser):
    """Checks that tags close in order; keeps the text, the tags and their attributes."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.decode())
        self.close()
        assert self.open == [], "not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag}: an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, f"{tag} closes nothing"
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def side(name: str) -> Side:
    stages = Stages(pictures=4, pre_ms=1, network_ms=20, decode_ms=2, total_ms=23)
    return Side(
        path=name, network=name, sha256="0" * 64, graph="default", found=9, missed=3, invented=2, stages=stages
    )  # fmt: skip


def an_evaluation(*, name: str = "net", baseline: bool = True, **changes: Any) -> Evaluation:
    figure = Figure(name="AP", unit="points", value=61.25, low=50.0, high=70.0)
    if baseline:
        figure = Figure(
            name="AP", unit="points", value=61.25, low=50.0, high=70.0, baseline=62.0, change=-0.75,
            change_low=-1.5, change_high=-0.125,
        )  # fmt: skip
    of: dict[str, Any] = {
        "version": 1, "jetpose": "0", "data_set": "COCO", "annotations": name, "pictures": 4, "people": 10,
        "skipped": (), "joints_left_out": (name,), "notes": (name,), "within": "<=", "boxes": False, "seed": 0,
        "resamples": 100, "bundle": side(name), "baseline": side(name) if baseline else None,
        "figures": (figure, Figure(name="AR", unit="points", value=None)),
        "pck": name,
        "groups": (Group(name=name, pck=12.5), Group(name="never", pck=None)),
        "keypoints": (
            Keypoint(name=name, annotated=3, mean_px=1.5, median_px=None, right=33.3, missed=0, pck=None),
            Keypoint(name="absent", annotated=0, mean_px=None, median_px=None, right=None, missed=None, pck=None),
        ),
        "limbs": (LimbRow(name=name, annotated=2, strict=50.0, mean=100.0),),
        "curves": (
            Curve(name=name, x_label=name, y_label=name, lines=(Line(name=name, x=(0.0, 1.0), y=(1.0, None)),)),
        ),
        "changed": (Changed(id=1, file=name, bundle=OnPicture(oks=0.5, missed=1, invented=0)),),
    }  # fmt: skip
    return Evaluation(**of | changes)


def an_int8_report(name: str = "x", chosen: int | None = 1) -> Report:
    steps = (
        Step(returned=(), int8_share=0.95, loss={"tensorrt": 2.0, name: 3.0}),
        Step(returned=(name,), int8_share=0.8, loss={"tensorrt": 0.25, name: 0.5}),
    )
    return Report(
        title=name,
        facts=((name, name),),
        warnings=(name,),
        sensitivity=SensitivityCurve(data=name, max_loss=0.5, min_int8=0.7, steps=steps, chosen=chosen),
        blocks=(
            Block(
                name=name, mac_share=0.4, ap_lost=1.25, shift_px=0.5, people_lost=2, people_invented=1,
                grouping_errors=3, precision="int8",
            ),
        ),
        layers=(
            Layer(name=name, op=name, macs=900, precision="int8", why=name),
            Layer(name="head", op="Conv", macs=100, precision="fp16", why="a head"),
        ),
    )  # fmt: skip


def a_row(name: str = "frame"):
    keypoints = np.ones((1, 17, 3), np.float32)
    keypoints[0, :, :2] = np.arange(34).reshape(17, 2)
    poses = Poses(keypoints, np.ones(1, np.float32), SKELETONS["coco17"])
    return picture_row(name, name, np.zeros((40, 1200, 3), np.uint8), {name: poses, "b": poses})


def test_an_evaluation() -> None:
    page = Page(html_page(Report(title="t", evaluation=an_evaluation(), frames=(a_row(),))))
    for words in ("61.2", "-0.75 against", "-1.5 to -0.1", "3 of 10 missed, 2 invented", "Frames that changed most"):
        assert words.replace("-0.75", "-0.8") in page.text
    assert "absent" not in page.text
    assert "12.5" in page.text
    assert "never" not in page.text
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2
    assert all((source or "").startswith("data:image/jpeg;base64,/9j/") for source in images)
    assert ("div", {"class": "more worse"}) in page.tags


def test_an_evaluation_alone() -> None:
    page = Page(html_page(Report(title="t", evaluation=an_evaluation(baseline=False), frames=(a_row(),))))
    assert "baseline" not in page.text.split("</style>")[-1].split("Figures")[1]
    assert "Frames that went worst" in page.text
    assert "50.0 to 70.0" in page.text


def test_an_int8_search() -> None:
    page = Page(html_page(an_int8_report()))
    for words in ("budget 0.5", "least share 70 %", "1, taken", "+1.25", "INT8 90.0 %", "FP16 10.0 %", "a head"):
        assert words in page.text
    circles = [a for tag, a in page.tags if tag == "circle"]
    assert sum(a["class"] == "mark" for a in circles) == 1
    assert len(circles) == 5
    assert [a["width"] for tag, a in page.tags if tag == "rect"] == ["90.000", "10.000"]


def test_a_search_without_an_end_says_so() -> None:
    assert "No step keeps the loss" in Page(html_page(an_int8_report(chosen=None))).text


@pytest.mark.parametrize("with_baseline", [True, False])
def test_hostile_names_stay_text(with_baseline: bool) -> None:
    whole = an_int8_report(HOSTILE)
    report = Report(
        title=HOSTILE,
        facts=whole.facts,
        warnings=whole.warnings,
        evaluation=an_evaluation(name=HOSTILE, baseline=with_baseline, skipped=(HOSTILE,)),
        frames=(a_row(HOSTILE),),
        sensitivity=whole.sensitivity,
        blocks=whole.blocks,
        layers=whole.layers,
    )
    page = html_page(report)
    parsed = Page(page)
    assert not any(tag == "script" for tag, _ in parsed.tags)
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert page.count(b"<style>") == page.count(b"</style>") == 1
    assert parsed.text.count("alert('1')") > 10
    policies = [a["content"] for tag, a in parsed.tags if tag == "meta" and "content" in a and "http-equiv" in a]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_an_empty_report() -> None:
    assert "nothing here" in Page(html_page(Report(title="nothing here"))).text


def test_pictures_are_small_and_show_the_people() -> None:
    import cv2

    row = a_row()
    image = cv2.imdecode(np.frombuffer(row.shown[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[:2] == (19, 560)
    assert image.max() > 100


# ---- charts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (Line(name="a", x=(), y=()),),
        (Line(name="a", x=(1.0,), y=(2.0,)),),
        (Line(name="a", x=(1.0, 2.0), y=(None, None)),),
        (Line(name="a", x=(0.0, 1e-7), y=(1e6, -1e6)),),
        tuple(Line(name=str(i), x=(0.0, 1.0), y=(0.0, float(i))) for i in range(12)),
    ],
)
def test_odd_curves_are_drawn(lines: tuple[Line, ...]) -> None:
    drawing = chart(
        Curve(name="c", x_label="x", y_label="y", lines=lines, levels=(Level(name="l", axis="y", value=3.0),))
    )
    parsed = Page(drawing.encode())
    paths = [a["d"] for tag, a in parsed.tags if tag == "path"]
    assert not any("nan" in (d or "") or "inf" in (d or "") for d in paths)


def test_a_gap_in_a_line_is_not_bridged() -> None:
    line = Line(name="a", x=(0.0, 1.0, 2.0, 3.0), y=(0.0, None, 1.0, 1.0))
    drawing = chart(Curve(name="c", x_label="x", y_label="y", lines=(line,)))
    (path,) = [
        a["d"] for tag, a in Page(drawing.encode()).tags if a.get("class") == "line c0" and "M46" in (a["d"] or "")
    ]
    assert (path or "").count("M") == 2


def test_the_baselines_line_has_its_own_lines_colour() -> None:
    names = ("OKS 0.50", "OKS 0.75", "OKS 0.50, baseline", "OKS 0.75, baseline")
    lines = tuple(Line(name=n, x=(0.0,), y=(0.0,), dashed="baseline" in n) for n in names)
    assert colours(Curve(name="c", x_label="", y_label="", lines=lines)) == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("low", "high", "kind"), [(0.1, 2, "better"), (-2, -0.1, "worse"), (-1, 1, "same"), (0, 0, "same")]
)
def test_a_whisker_says_whether_zero_is_inside(low: float, high: float, kind: str) -> None:
    assert f'class="whisker {kind}"' in whisker(low, (low + high) / 2, high, 2.0)
    Page(whisker(low, low, high, 0.0).encode())


def test_a_strip_of_nothing() -> None:
    Page(strip([]).encode())
