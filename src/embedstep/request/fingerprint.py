"""Digests that identify a request, and a training: equal for equal content, whatever file or tool it came through."""

from collections.abc import Mapping
from typing import Any

from embedstep.request.model import Model
from embedstep.request.schema import TrainRequest
from embedstep.runtime.digests import sha256_json


def request_fingerprint(request: TrainRequest) -> str:
    """Return the SHA-256 of the request with all defaults filled in, as 64 hexadecimal digits.

    It ignores key order, comments, short forms and written-out defaults, and also the sections `schedule` and `resume`.
    """
    return sha256_json(_dump(request, {"schedule", "resume"}))


def training_fingerprint(
    request: TrainRequest, rows: Mapping[str, str], processes: int, code: Mapping[str, str] | None = None
) -> str:
    """Return the SHA-256 of the training and its rows: unchanged next week if neither has changed.

    The rows are in it by their digests, so the section `data` is left out. So are tracking, promotion and output
    folders, which do not affect the weights.

    Args:
        request: the request.
        rows: digest of the rows of each dataset by `<split>.<name>`.
        processes: processes that train together.
        code: digest of the code of other packages that trains, by its name.
    """
    sections = _dump(request, _NOT_TRAINED)
    for name in _OF_A_RUN:
        del sections["arguments"][name]
    code_digests = {"code": dict(code)} if code else {}
    return sha256_json({**sections, "data": dict(rows), "processes": processes, **code_digests})


def _dump(request: TrainRequest, excluded: set[str]) -> dict[str, Any]:
    """Return the request as plain data, with the digest that it had before fields were added which it does not use."""
    sections = request.model_dump(mode="json", exclude=excluded)
    for name in _ADDED_TO_MODEL:
        if sections["model"][name] == Model.model_fields[name].default:
            del sections["model"][name]
    for split in sections.get("data", {}).values():
        for dataset in split.values() if isinstance(split, dict) else ():
            for name in _ADDED_TO_DATASETS:
                if dataset[name] is None:
                    del dataset[name]
    for name in _ADDED:
        if sections[name] == TrainRequest.model_fields[name].default:
            del sections[name]
    return sections


_ADDED = ("early_stopping",)
_ADDED_TO_DATASETS = ("transform", "hold_out", "csv", "sheet", "sql", "database", "rows")
_ADDED_TO_MODEL = (
    "model_kwargs",
    "processor_kwargs",
    "config_kwargs",
    "prompts",
    "default_prompt_name",
    "use_prompts",
    "similarity_fn_name",
    "truncate_dim",
    "modules",
    "pooling",
    "layers",
    "freeze",
    "peft",
)
"""Fields of the model that 0.1.0 did not have. Without them, checkpoints of that release can be resumed."""
_NOT_TRAINED = {"data", "launch", "tracking", "promotion", "schedule", "skip_if_unchanged", "resume"}
_OF_A_RUN = ("output_dir", "overwrite_output_dir", "run_name", "logging_dir", "resume_from_checkpoint")
"""Arguments with the places that a run writes to and resumes from."""
