"""The training arguments as values: the table of `table`, read from what a person or a library wrote."""

from typing import Any

from pydantic import ModelWrapValidatorHandler, model_validator

from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.arguments.reading import read_nulls, written_arguments
from embedstep.request.arguments.renames import rename_arguments
from embedstep.request.arguments.table import ArgumentTable


class Arguments(ArgumentTable):
    """Training arguments by their names in SentenceTransformerTrainingArguments, old and current ones."""

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, raw: Any, handler: ModelWrapValidatorHandler["Arguments"]) -> "Arguments":
        if type(raw) is cls:
            return raw
        # `TrainingArguments` may change later, so a request takes its values and not the object.
        written, is_dump = written_arguments(to_lossless(raw) if isinstance(raw, Arguments) else raw, cls)
        arguments = handler(read_nulls(written, cls))
        arguments._is_dump = is_dump
        # Changed in place, because `Arguments(...)` would not return a copy.
        renamed = rename_arguments(arguments)
        arguments.__dict__.update(renamed.__dict__)
        arguments.__pydantic_fields_set__.update(renamed.model_fields_set)
        return arguments
