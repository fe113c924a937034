"""The arguments class of sentence-transformers 3.0 for Python authors, without torch."""

import json
from typing import Any

from pydantic import ConfigDict, ValidationError

from embedstep.errors import InvalidRequestError
from embedstep.request.arguments.dumps import to_dict
from embedstep.request.arguments.setters import ArgumentSetters
from embedstep.request.loading import problems_of_arguments


class TrainingArguments(ArgumentSetters):
    """Training arguments with the constructor, setters, properties and dumps of sentence-transformers 3.0.

    It takes old and current names, validates every value, and goes into a request as it is:
    `TrainRequest(..., arguments=TrainingArguments("out").set_training(batch_size=32))`. The request takes a copy of the
    values. An attribute is the value that was set or the default; `to_dict` also shows what the 3.0 class derives.
    """

    model_config = ConfigDict(frozen=False)

    def __init__(self, output_dir: str | None = None, **values: Any) -> None:
        """Set arguments by their names.

        Raises:
            InvalidRequestError: with every wrong value.
        """
        written = values if output_dir is None else {"output_dir": output_dir, **values}
        try:
            super().__init__(**written)
        except ValidationError as error:
            raise InvalidRequestError(problems_of_arguments(error, written)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set one argument.

        Raises:
            InvalidRequestError: there is no such argument, or the value is wrong.
        """
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self._assign(**{name: value})

    def to_dict(self) -> dict[str, Any]:
        """Return the 120 arguments of 3.0 as plain data, secrets as `<HUB_TOKEN>`.

        Unlike in 3.0, installed trackers are not listed, and the folder of event files has no time and host in its
        name, so equal arguments give equal dumps on every machine.

        Raises:
            OSError: the file that `fsdp_config` names cannot be read.
            ValueError: it holds no JSON mapping.
        """
        return to_dict(self, self.world)

    def to_json_string(self) -> str:
        """Return `to_dict` as JSON text, indented by 2."""
        return json.dumps(self.to_dict(), indent=2)

    def to_sanitized_dict(self) -> dict[str, Any]:
        """Return `to_dict` and the two batch sizes; a value that is no number, boolean or text becomes its `str`."""
        values = self.to_dict() | {"train_batch_size": self.train_batch_size, "eval_batch_size": self.eval_batch_size}
        return {name: value if isinstance(value, int | float | str) else str(value) for name, value in values.items()}


SentenceTransformerTrainingArguments = TrainingArguments
"""The name in sentence-transformers, so that its examples run with only the import changed."""
