"""What an operator is told of the component that it runs, wherever it runs it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException


class ComponentOperator(BaseOperator):
    """What the operators have in common: which component, with what, and where its artifacts go."""

    template_fields: Sequence[str] = ("request", "folder", "parameters", "inputs")
    template_fields_renderers = {"request": "yaml", "parameters": "json"}  # noqa: RUF012 - as Airflow declares it

    def __init__(
        self,
        *,
        component: str,
        request: str,
        folder: str,
        parameters: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Describe the task.

        Args:
            component: `prepare`, `mine_negatives`, `train_embedder`, `evaluate` or `promote`.
            request: the request, as YAML or JSON, or where it lies and its digest (`<path or URL>#sha256=<digest>`).
            folder: where its artifacts go, another one for each run of the DAG.
            parameters: its parameters, such as `learning_rate` and `as_of`.
            inputs: paths of its input artifacts by their names.
            kwargs: what the operator takes beside these.
        """
        super().__init__(**kwargs)
        self.component = component
        self.request = request
        self.folder = folder
        self.parameters = dict(parameters or {})
        self.inputs = dict(inputs or {})

    def task_of_component(self) -> tuple[str, Any]:
        """Return the verb of the component, and its task (`embedstep.orchestration.task.Task`).

        Raises:
            AirflowFailException: there is no such component, or it has no such parameter or input.
        """
        # Not when a DAG is parsed, which happens again and again.
        from embedstep.orchestration.components import COMPONENTS
        from embedstep.orchestration.task import task_of

        known = {one.name: one for one in COMPONENTS}
        if self.component not in known:
            raise AirflowFailException(f"component {self.component!r} is none of {', '.join(known)}")
        found = known[self.component]
        for kind, given, names in (
            ("parameter", self.parameters, {one.name for one in found.parameters}),
            ("input", self.inputs, {one.name for one in found.inputs}),
        ):
            if unknown := sorted(set(given) - names):
                raise AirflowFailException(f"{self.component} has no {kind} {', '.join(unknown)}")
        parameters = {"request": self.request, **self.parameters}
        inputs = {name: Path(path) for name, path in self.inputs.items()}
        return found.verb, task_of(found, Path(self.folder), parameters, inputs)
