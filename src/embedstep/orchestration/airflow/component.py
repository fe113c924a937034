"""The component that an operator runs, wherever it runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException


class ComponentOperator(BaseOperator):
    """Base of the operators: which component, its inputs, and the folder of its artifacts."""

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
            component: name of the component, such as `prepare` or `train_embedder`.
            request: the request as YAML or JSON, or a reference to it (`<path or URL>#sha256=<digest>`).
            folder: folder for the artifacts, a new one in each run of the DAG.
            parameters: parameters of the component, such as `learning_rate` and `as_of`.
            inputs: paths of the input artifacts by name.
            kwargs: other arguments of the operator.
        """
        super().__init__(**kwargs)
        self.component = component
        self.request = request
        self.folder = folder
        self.parameters = dict(parameters or {})
        self.inputs = dict(inputs or {})

    def make_task_of_component(self) -> tuple[str, Any]:
        """Return the command of the component and its task (`embedstep.orchestration.task.Task`).

        Raises:
            AirflowFailException: the component, a parameter or an input is unknown.
        """
        # Imported here, because Airflow parses a DAG again and again.
        from embedstep.orchestration.components import COMPONENTS
        from embedstep.orchestration.task import make_task

        if self.component not in COMPONENTS:
            raise AirflowFailException(f"component {self.component!r} is none of {', '.join(COMPONENTS)}")
        found = COMPONENTS[self.component]
        for kind, given, names in (
            ("parameter", self.parameters, {one.name for one in found.parameters}),
            ("input", self.inputs, {one.name for one in found.inputs}),
        ):
            if unknown := sorted(set(given) - names):
                raise AirflowFailException(f"{self.component} has no {kind} {', '.join(unknown)}")
        parameters = {"request": self.request, **self.parameters}
        inputs = {name: Path(path) for name, path in self.inputs.items()}
        return found.command, make_task(found, Path(self.folder), parameters, inputs)
