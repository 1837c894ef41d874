"""Learning rate over a run: warm-up, stable, decay."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta, Struct

Step = Annotated[int, Meta(ge=0, le=1 << 40)]

_STABLE_SHARE = 0.8
"""Of a run before the decay where the recipe names no step: 10 to 20 % of decay are enough (Hägele et al., fig. 5)."""


class Schedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Warm-up, stable, decay (WSD): Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
    Durations", NeurIPS 2024.

    The rate is constant between warm-up and decay, so a run can be prolonged, and its decay started, at any time.

    Attributes:
        warmup: steps in which the rate grows linearly from 0.
        decay_from: the step at which it begins to fall; None is four fifths of the run.
        shape: of the fall to 0: 1 - sqrt(x) (theirs), or linear.
    """

    warmup: Step = 0
    decay_from: Step | None = None
    shape: Literal["sqrt", "linear"] = "sqrt"

    def decay_start(self, steps: int) -> int:
        """The first step of the decay in a run of `steps`."""
        start = round(_STABLE_SHARE * steps) if self.decay_from is None else self.decay_from
        return min(start, steps)

    def factor(self, step: int, steps: int) -> float:
        """Of the peak rate at `step` (from 0) in a run of `steps`: over 0, at most 1."""
        warm = min((step + 1) / (self.warmup + 1), 1.0)
        start = self.decay_start(steps)
        if step < start:
            return warm
        fallen = (step - start + 1) / (steps - start + 1)
        return warm * (1 - math.sqrt(fallen) if self.shape == "sqrt" else 1 - fallen)
