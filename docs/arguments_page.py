"""The reference page of the training arguments, generated from their table."""

import json
from collections.abc import Iterator, Sequence

from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.support import SUPPORT_MEANINGS, Contract, types_of
from embedstep.request.arguments.table import CONTRACT, GROUPS

_HEAD = """# Training arguments

Made by `make golden` from the table in `src/embedstep/request/arguments/table.py`. It holds the 120 arguments that
sentence-transformers 3.0 with transformers 4.37 documented, and those that came later. A request may use old and
current names; it may use both at once if they agree.

The column *support* says what embedstep does with an argument:
"""


def arguments_page() -> str:
    """Return `docs/arguments.md`."""
    types = types_of(Arguments)
    parts = [_HEAD, *(f"- *{support}*: {meaning}." for support, meaning in SUPPORT_MEANINGS.items())]
    for group in GROUPS:
        rows = [row for row in CONTRACT.values() if row.name in group.model_fields]
        parts += [f"\n## {group.__name__}\n", f"{group.__doc__}\n", *_table(rows, types)]
    return "\n".join([*parts, _TAIL])


def _table(rows: Sequence[Contract], types: dict[str, str]) -> Iterator[str]:
    yield "| argument | type | default | support | |"
    yield "|---|---|---|---|---|"
    for row in rows:
        text = " ".join(filter(None, [row.description, _more(row)]))
        yield f"| `{row.name}` | {_short(types[row.name])} | `{json.dumps(row.default)}` | {row.support} | {text} |"


def _short(type_: str) -> str:
    """Long lists of choices are left to the command."""
    return type_ if len(type_) < 90 else "one of many, see `embedstep arguments NAME`"


def _more(row: Contract) -> str:
    if row.instead:
        return f"Only the default is accepted: {row.instead}."
    if row.by:
        return f"Needs {row.by}." if row.support == "environment" else f"Done by {row.by}."
    if row.support == "translated" and row.current_name not in ("", row.name):
        return f"Now `{row.current_name}`."
    return ""


_TAIL = """
## Early stopping

It is no training argument but a section of its own, with the options of transformers' `EarlyStoppingCallback`:

```yaml
early_stopping: {patience: 3, threshold: 0.001}
arguments: {eval_strategy: epoch, save_strategy: epoch, load_best_model_at_end: true,
            metric_for_best_model: docs_cosine_ndcg@10, greater_is_better: true}
```

The training ends after 3 evaluations in a row without a gain over the best checkpoint, which is published.
`stop_reason` in the result says so. A resumed training keeps the count.

## Deliberate differences from the class of sentence-transformers 3.0

- A request that names no `optim` trains with the default of the installed class, `adamw_torch_fused`, so that its
  weights are those of a plain script. `TrainingArguments().optim` is `adamw_torch`, and a dump trains with its own.
- `report_to: null` records with `tracking` alone. The class used every installed tracker.
- `hub_token` and `push_to_hub_token` take `{from_env: NAME}`, never the token itself.
- A training ends with an evaluation if there is data for it, because the step reports the model that it saves.
- `warmup_steps` may be a share below 1, as in transformers 5. The class read it as part of a step.
- On resume, the intervals of logging, evaluation and saving are those of the request. The class kept those of the
  checkpoint.
- `label_smoothing_factor` smooths the labels of losses that end in a cross-entropy over classes. The class ignored it.
- An unknown choice, a negative batch size or a ratio outside 0 to 1 is refused when the request is read. The class
  failed late or not at all.
- Null is accepted where the installed class accepts it. For a boolean it means false. It is refused where the class
  fails on it later, as with `learning_rate: null`.

A test compares 263 recorded constructor calls and 43 setter calls with what embedstep makes of them. These are the only
differences, case by case.

Another value:

- `per_device_train_batch_size: "16"`, `learning_rate: "5e-5"`, `adam_epsilon: "1e-8"`: a number as text is read as the
  number.
- `lr_scheduler_kwargs` and `gradient_checkpointing_kwargs` as text: a mapping as JSON text is read as the mapping.
- `push_to_hub_model_id: org/m`: the class repeated an owner that was given.
- `prediction_loss_only` after a setter: the constructor forces it, and a dump describes constructed arguments.
- `report_to` after a setter: the constructor makes a list of the word.

Refused:

- `log_level: bogus`, `log_level_replica: bogus`, `set_logging(level=...)` with such a word: unknown levels are refused
  at once, not when the trainer is built.
- `push_to_hub_token: ...`, alone and with `hub_token: ...`, `set_push_to_hub(token=...)`: a request must not hold a
  token.

Accepted:

- `evaluation_strategy: false`, `save_strategy: false`: YAML 1.1 reads the word no as false.
- `fsdp: null`: the installed class accepts null.
- `lr_scheduler_type: cosine_with_min_lr`, `batch_sampler: no_duplicates_hashed`: it came later.
- `fp16: true`, `fp16_full_eval: true`, `tf32: true` on a machine without a GPU:
  arguments alone do not know the machine. `check`, `plan` and `run` refuse `fp16` and `tf32` where no GPU is used;
  `fp16_full_eval` works on a CPU.
"""
