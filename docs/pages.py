"""The reference pages, made from the tables that check and build what they tell of: losses, evaluators, components."""

from collections.abc import Iterable, Iterator, Mapping

from embedstep.orchestration.components import Artifact, Component
from embedstep.orchestration.parameters import Parameter
from embedstep.planning.evaluators import EVALUATORS, EvaluatorKind
from embedstep.planning.losses import LOSSES, LossKind, describe_columns
from embedstep.planning.options import REQUIRED, Option, describe_option

_HEAD = """# Losses and evaluators

Made by `make golden` from the tables in `src/embedstep/planning/losses.py` and `src/embedstep/planning/evaluators.py`.
Names of classes work as well: `MultipleNegativesRankingLoss` is `multiple_negatives_ranking`.
"""


def losses_page() -> str:
    """Return `docs/losses.md`: every loss and evaluator with its columns, label and options, as Markdown."""
    parts = [_HEAD, "## Losses", *_loss_table(), "## Evaluators", *_evaluator_table(), "## Options"]
    parts += _option_lists({**LOSSES, **EVALUATORS})
    return "\n".join(parts) + "\n"


def _loss_table() -> Iterator[str]:
    yield "\n| loss | text columns | label | in a batch |\n|---|---|---|---|"
    for name, kind in LOSSES.items():
        yield f"| `{name}` | {_texts(kind)} | {_label(kind)} | {_batch(kind)} |"
    yield ""


def _texts(kind: LossKind) -> str:
    if kind.wraps:
        return "those of the loss inside"
    return "; or ".join(dict.fromkeys(describe_columns(takes) for takes in kind.takes))


def _label(kind: LossKind) -> str:
    labels = [takes for takes in kind.takes if takes.label]
    words = "; or ".join(dict.fromkeys(takes.label.words for takes in labels if takes.label))
    return f"{words} (may be left out)" if any(takes.label_optional for takes in labels) else words


def _batch(kind: LossKind) -> str:
    if kind.needs_label_groups:
        return "needs `batch_sampler: group_by_label`"
    return "the other rows are negatives" if kind.in_batch_negatives else ""


def _evaluator_table() -> Iterator[str]:
    yield "\n| evaluator | columns | label |\n|---|---|---|"
    for name, kind in EVALUATORS.items():
        label = "0 or 1" if kind.binary else "a number" if kind.label else ""
        yield f"| `{name}` | {', '.join(kind.roles)} | {label} |"
    yield ""


def _option_lists(kinds: Mapping[str, LossKind | EvaluatorKind]) -> Iterator[str]:
    for name, kind in kinds.items():
        if kind.options:
            yield f"\n`{name}`\n"
            yield from _options(kind.options.items())


def _options(options: Iterable[tuple[str, Option]]) -> Iterator[str]:
    for name, option in options:
        default = "must be given" if option.default is REQUIRED else f"default `{option.default}`"
        yield f"- `{name}`: {describe_option(option)}; {default}"


def component_page(component: Component, authored: str) -> str:
    """Return the page of a component, as Markdown.

    Args:
        component: the component.
        authored: signature of the function that an author of a pipeline calls.
    """
    head = [
        f"# {component.name}",
        "",
        component.description,
        "",
        "Made by `make golden` from `src/embedstep/orchestration/components.py`, as is `component.yaml`.",
        "",
        "```python",
        f"from embedstep.orchestration.kfp import {component.name}",
        "",
        authored,
        "```",
    ]
    tables = {
        "Artifacts in": _artifacts(component.inputs, with_need=True),
        "Parameters": _parameters(component.parameters),
        "Artifacts out": _artifacts(component.outputs, with_need=False),
        "Parameters out": _parameters(component.results),
    }
    parts = [f"\n## {title}\n\n" + "\n".join(rows) for title, rows in tables.items() if rows]
    return "\n".join([*head, *parts]) + "\n"


def _artifacts(artifacts: Iterable[Artifact], *, with_need: bool) -> list[str]:
    rows = [f"| `{one.name}` | {one.type} | {one.description}{_need(one) if with_need else ''} |" for one in artifacts]
    return ["| artifact | type | |", "|---|---|---|", *rows] if rows else []


def _need(artifact: Artifact) -> str:
    return " Must be given." if artifact.is_required else ""


def _parameters(parameters: Iterable[Parameter]) -> list[str]:
    rows = [f"| `{one.name}` | {one.kind} | {_in_a_cell(one.description)} |" for one in parameters]
    return ["| parameter | kind | |", "|---|---|---|", *rows] if rows else []


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")
