"""The decision of a gate, as a value that is written to `verdict.json` and read again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from embedstep.data.recorded_anchors import SeenAnchors
from embedstep.output.gains import Gain
from embedstep.output.result import Change
from embedstep.promotion.comparison import Verdict
from embedstep.promotion.reindex import Reindex
from embedstep.request.scalars import map_scalars

VERDICT_FORMAT = "embedstep.verdict/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision(Verdict):
    """The decision of a gate, and the measurements behind it.

    Attributes:
        metric: metric that decided.
        challenger: `model` of the challenger, and `version` and `run_id` if it is registered.
        champion: the same of the model that it was compared with; `is_base` if nothing is in production yet.
        metrics: mean metrics of both, by `challenger` and `champion`.
        data: fingerprint of each eval dataset.
        dimensions: gain at each truncated dimension.
        gains: gain in each metric of the evaluator that decided.
        examples: queries with the largest gain (`won`) and loss (`lost`): `query`, `relevant`, the scores `champion`
            and `challenger`, and the top documents `champion_found` and `challenger_found`.
        reindex: whether documents must be embedded again; None if nothing is in production yet.
        seen: for `challenger` and `champion`, if its training anchors are recorded: how many different `anchors` each
            eval dataset has, and how many of these the model was trained on (`seen`).
        changes: metrics of the challenger's run before and after its training.
        missing: what could not be recorded, one sentence each.
        measured: `megabytes`, `milliseconds` and `documents_per_second` of both models.
    """

    metric: str
    challenger: Mapping[str, Any]
    champion: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float]]
    data: Mapping[str, str]
    dimensions: Mapping[str, Gain] = field(default_factory=dict)
    gains: Mapping[str, Gain] = field(default_factory=dict)
    examples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=lambda: {"won": [], "lost": []})
    reindex: Reindex | None = None
    measured: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    seen: Mapping[str, Mapping[str, SeenAnchors]] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `verdict.json`."""
        data = asdict(self)
        del data["missing"]  # known only after the file is written
        found = {"format": VERDICT_FORMAT, "verdict": data.pop("action"), **data}
        return {name: map_scalars(value, _finite) for name, value in found.items()}


def decision_from_json(data: Mapping[str, Any]) -> Decision:
    """Read what `Decision.to_json` wrote."""
    values = {name: value for name, value in data.items() if name not in ("format", "verdict")}
    for name in ("slices", "dimensions", "gains"):
        values[name] = {key: Gain(**one) for key, one in data[name].items()}
    values["seen"] = {
        model: {name: SeenAnchors(**one) for name, one in found.items()}
        for model, found in data.get("seen", {}).items()
    }
    values["changes"] = {name: Change(**one) for name, one in data.get("changes", {}).items()}
    if data["gain"]:
        values["gain"] = Gain(**data["gain"])
    if data["reindex"]:
        values["reindex"] = Reindex(**{**data["reindex"], "reasons": tuple(data["reindex"]["reasons"])})
    return Decision(**{**values, "action": data["verdict"], "reasons": tuple(data["reasons"])})


def _finite(value: Any) -> Any:
    """Replace NaN and infinity by null, because JSON has neither."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
