"""The search for the largest INT8 share whose poses are as good as FP32's.

All of the network but its heads starts in INT8. Where that loses more than the budget on any graph that ships, blocks
go back to FP16, those first that add most noise to the heads for the multiply-accumulates that they save, until every
graph is within the budget; then blocks that turn out not to be needed come back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import sub

import msgspec
import onnx

from pose_calibration.judge import Judge, Verdict, try_graph
from pose_calibration.placement import blocks, cpu_graph, int8_share, tensorrt_graph, weighted
from pose_calibration.plan import Plan
from pose_runtime.errors import CalibrationError
from pose_runtime.manifest import GraphRole

MAKERS: dict[GraphRole, Callable[[onnx.ModelProto, Plan], onnx.ModelProto]] = {
    "tensorrt": tensorrt_graph,
    "cpu_int8": cpu_graph,
}
"""The graphs that ship, and what makes them."""
MAX_BLOCKS = 80
"""So fine that a sensitive layer near the heads does not take insensitive work back to FP16 with it."""
_RETRIES = 4  # blocks that are tried in INT8 again once the budget holds

Tell = Callable[[str], None]
"""Takes a line about what is going on."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What INT8 may cost and must give.

    Attributes:
        max_loss: AP points that every graph may lose.
        min_int8: share of the weighted nodes' multiply-accumulates that must be INT8, 0 to 1.
    """

    max_loss: float = 0.5
    min_int8: float = 0.7


@dataclass(frozen=True, slots=True)
class Step:
    """One plan that was tried: the blocks returned to FP16, the INT8 share, and what became of the poses by graph."""

    returned: tuple[str, ...]
    share: float
    verdicts: Mapping[GraphRole, Verdict | None]

    @property
    def loss(self) -> float:
        """The largest of all graphs, AP points; infinite where one gives no finite values."""
        return max(float("inf") if verdict is None else verdict.loss for verdict in self.verdicts.values())


@dataclass(frozen=True, slots=True)
class Block:
    """One block alone in INT8.

    Attributes:
        name, nodes: the block and its weighted nodes.
        share: of all multiply-accumulates.
        noise: that it adds to the heads, see `Judge.noise`; infinite where they are not finite.
        verdict: what becomes of the poses; None where that was not asked for, or the heads are not finite.
    """

    name: str
    nodes: tuple[str, ...]
    share: float
    noise: float
    verdict: Verdict | None


@dataclass(slots=True)
class Found:
    """What the search found.

    Attributes:
        plan: the best one.
        steps: every plan that was tried, in order of the share, largest first.
        blocks: what each block costs alone, worst first; empty where all of them were good at once.
        within: whether the plan keeps the budget.
        graphs: of the plan, encoded.
    """

    plan: Plan
    best: Step
    steps: list[Step]
    blocks: list[Block]
    within: bool
    graphs: dict[GraphRole, bytes]


def int8_nodes(model: onnx.ModelProto, size_wh: tuple[int, int] | None = None) -> tuple[str, ...]:
    """The weighted nodes that start in INT8: all, but those whose result is an output of the network.

    size_wh: stands in for an open width and height of its input.
    """
    return tuple(node.name for node in weighted(model, size_wh=size_wh) if not node.head)


def search(
    model: onnx.ModelProto,
    plans: Sequence[Plan],
    judge: Judge,
    budget: Budget,
    *,
    size_wh: tuple[int, int] | None = None,
    all_blocks: bool = False,
    tell: Tell,
) -> Found:
    """Find the plan.

    Args:
        model: the FP32 graph.
        plans: of all candidates in INT8, with ranges by different methods; the one whose poses agree best is taken.
        judge: of the poses.
        budget: to keep.
        size_wh: stands in for an open width and height of the network's input.
        all_blocks: see what each block alone does to the poses, even where nothing has to go back.
        tell: is told of each step.
    """
    finder = _Finder(model, judge, budget, size_wh, tell)
    plan = finder.best_of(plans)
    first = finder.step(plan, ())
    settled = first.loss <= budget.max_loss or first.share < budget.min_int8
    rows = finder.measure(plan, poses=all_blocks) if all_blocks or not settled else []
    best = first if settled else finder.shrink(plan, rows)
    within = best.loss <= budget.max_loss and best.share >= budget.min_int8
    plan = finder.without(plan, best.returned)
    finder.steps.sort(key=lambda step: -step.share)
    graphs = {role: encode(make(model, plan)) for role, make in MAKERS.items()}
    return Found(plan, best, finder.steps, rows, within, graphs)


def encode(model: onnx.ModelProto) -> bytes:
    """The graph as it lies in a bundle."""
    return bytes(model.SerializeToString(deterministic=True))


class _Finder:
    def __init__(
        self, model: onnx.ModelProto, judge: Judge, budget: Budget, size_wh: tuple[int, int] | None, tell: Tell
    ) -> None:
        self._model, self._judge, self._budget, self._tell = model, judge, budget, tell
        self._size_wh = size_wh
        self._blocks = blocks(model, most=MAX_BLOCKS, size_wh=size_wh)
        self.steps: list[Step] = []
        self._verdicts: dict[tuple[GraphRole, bytes], Verdict | None] = {}

    def best_of(self, plans: Sequence[Plan]) -> Plan:
        """The plan whose poses agree best with FP32's, on the GPU's graph, for both graphs share the ranges."""
        if len(plans) == 1:
            return plans[0]
        scores: dict[str, float] = {}
        for plan in plans:
            verdict = self._verdict("tensorrt", plan)
            scores[plan.method] = verdict.likeness if verdict else 0.0
            self._tell(f"ranges by {plan.method}: poses agree to OKS {scores[plan.method]:.4f}")
        return max(plans, key=lambda plan: scores[plan.method])

    def without(self, plan: Plan, returned: Sequence[str]) -> Plan:
        """The plan with these blocks in FP16."""
        gone = {node for name in returned for node in self._blocks[name]}
        return msgspec.structs.replace(plan, int8=tuple(node for node in plan.int8 if node not in gone))

    def step(self, plan: Plan, returned: Sequence[str]) -> Step:
        """Judge every graph of the plan with these blocks in FP16."""
        smaller = self.without(plan, returned)
        verdicts = {role: self._verdict(role, smaller) for role in MAKERS}
        step = Step(tuple(returned), self._share(smaller), verdicts)
        self.steps.append(step)
        losses = ", ".join(f"{role} {v.loss:+.2f}" if v else f"{role} not finite" for role, v in verdicts.items())
        self._tell(f"{100 * step.share:.1f} % INT8, blocks in FP16: {len(returned)}, AP lost: {losses}")
        return step

    def _verdict(self, role: GraphRole, plan: Plan) -> Verdict | None:
        """On one graph of the plan; a graph that was judged before is not run again."""
        graph = encode(MAKERS[role](self._model, plan))
        key = role, hashlib.sha256(graph).digest()
        if key not in self._verdicts:
            self._verdicts[key] = try_graph(self._judge, graph, role)
        return self._verdicts[key]

    def measure(self, plan: Plan, *, poses: bool) -> list[Block]:
        """Every block alone in INT8, the one first that costs most noise for the work that it saves."""
        rows = []
        for name, nodes in self._blocks.items():
            alone = msgspec.structs.replace(plan, int8=tuple(node for node in plan.int8 if node in nodes))
            if not alone.int8:
                continue
            graph = encode(tensorrt_graph(self._model, alone))
            share, noise = self._share(alone), self._judge.noise(graph, "tensorrt")
            verdict = try_graph(self._judge, graph, "tensorrt") if poses else None
            rows.append(Block(name, alone.int8, share, noise, verdict))
            self._tell(f"block {name}: {100 * share:.1f} % of the work, noise {noise:.2g}")
        return sorted(rows, key=lambda row: -row.noise / max(row.share, 1e-9))

    def shrink(self, plan: Plan, rows: Sequence[Block]) -> Step:
        """As few blocks back in FP16 as the budget allows; where it allows none, the last plan with enough INT8."""
        order = [row.name for row in rows]
        shares = accumulate((row.share for row in rows), sub, initial=self.steps[-1].share)
        most = max((n for n, share in enumerate(shares) if share >= self._budget.min_int8), default=0)
        tried = {0: self.steps[-1]}
        low, high = 0, most  # low is over the budget
        tried[high] = self.step(plan, order[:high]) if high else tried[0]
        if not self._good(tried[high]):
            return tried[high]
        while high - low > 1:
            middle = (low + high) // 2
            tried[middle] = self.step(plan, order[:middle])
            low, high = (low, middle) if self._good(tried[middle]) else (middle, high)
        return self._grow(plan, tried[high], rows)

    def _grow(self, plan: Plan, best: Step, rows: Sequence[Block]) -> Step:
        """Blocks back into INT8, the heaviest first, as long as the budget holds."""
        heavy = sorted((row for row in rows if row.name in best.returned), key=lambda row: -row.share)
        for row in heavy[:_RETRIES] if len(best.returned) > 1 else ():
            step = self.step(plan, tuple(name for name in best.returned if name != row.name))
            best = step if self._good(step) else best
        return best

    def _share(self, plan: Plan) -> float:
        return int8_share(self._model, plan, size_wh=self._size_wh)

    def _good(self, step: Step) -> bool:
        return step.loss <= self._budget.max_loss


class BudgetError(CalibrationError):
    """No plan keeps the budget; `found` has what was tried."""

    def __init__(self, found: Found, budget: Budget) -> None:
        super().__init__(
            f"INT8 loses {found.best.loss:.2f} AP points with {100 * found.best.share:.1f} % of the work in INT8, "
            f"wanted at most {budget.max_loss:g} with at least {100 * budget.min_int8:g} %; fine-tune with "
            "pose-train --qat, or allow more with --max-loss or --min-int8"
        )
        self.found = found
