"""Digests that identify a request, and a training: equal for equal content, whatever file or tool it came through."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from embedstep.request.datasets import Data, Dataset
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
    data = sections.get("data", {})
    _drop_unused(sections["model"], Model, _ADDED_TO_MODEL)
    _drop_unused(data, Data, _ADDED_TO_DATA if data else ())
    _drop_unused(sections, TrainRequest, _ADDED)
    for split in data.values():
        for dataset in split.values() if isinstance(split, dict) else ():
            _drop_unused(dataset, Dataset, _ADDED_TO_DATASETS)
    return sections


def _drop_unused(section: dict[str, Any], model: type[BaseModel], names: Iterable[str]) -> None:
    """Remove the fields of these names that have their default value."""
    for name in names:
        if name in section and section[name] == _default(model.model_fields[name]):
            del section[name]


def _default(field: FieldInfo) -> Any:
    """Return the default of a field as plain data, with those of its own fields if it is a section."""
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        return field.annotation().model_dump(mode="json")
    return field.default


_ADDED = ("early_stopping", "evaluate_base", "card")
_ADDED_TO_DATA = ("read", "record_anchors")
_ADDED_TO_DATASETS = ("transform", "hold_out", "csv", "sheet", "sql", "database", "rows", "beir", "corpus")
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
_NOT_TRAINED = {
    "data", "launch", "tracking", "promotion", "schedule", "skip_if_unchanged", "resume", "evaluate_base", "card",
}  # fmt: skip
_OF_A_RUN = ("output_dir", "overwrite_output_dir", "run_name", "logging_dir", "resume_from_checkpoint")
"""Arguments with the places that a run writes to and resumes from."""
