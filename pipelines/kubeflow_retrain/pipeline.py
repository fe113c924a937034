"""A retraining for Kubeflow Pipelines: prepare, train, evaluate, and promote what is better.

    python -m pipelines.kubeflow_retrain.pipeline REQUEST FILE

makes a pipeline of a request. What people tune is a parameter of the pipeline, whose default is what the request says,
so that a run without parameters does what the request says.
"""

import gc
import sys
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from embedstep import load_request
from embedstep.orchestration.kfp import evaluate, one_line, outcome, prepare, promote, train_embedder, with_retries


def build_pipeline(request: str) -> Any:
    """Return the pipeline that retrains the model of a request.

    Args:
        request: the text of the request.

    Raises:
        InvalidRequestError: with every problem of the request.
    """
    given = load_request(request)
    as_default = one_line(request)

    @dsl.pipeline(name="embedstep-retrain", description="Retrain an embedding model, and promote it if it is better.")
    def retrain(
        request: str = as_default,
        as_of: str = "",
        eval_share: float = 0.0,
        learning_rate: float = given.arguments.learning_rate,
        num_train_epochs: float = given.arguments.num_train_epochs,
        per_device_train_batch_size: int = given.arguments.per_device_train_batch_size,
        minimum_gain: float = given.promotion.minimum_gain,
    ) -> None:
        """Retrain an embedding model, and promote it if it is better.

        Args:
            request: the request, YAML or JSON; one with more than 8 KB as `<path or URL>#sha256=<digest>`.
            as_of: up to when the data counts, as an ISO 8601 date or time; what the request says when empty.
            eval_share: share of the anchors that is held out of a dataset without rows to evaluate with.
            learning_rate: peak of the learning rate.
            num_train_epochs: passes over the rows.
            per_device_train_batch_size: rows of each process in a train step.
            minimum_gain: least gain over the champion, in the metric's own units.
        """
        with dsl.ExitHandler(outcome(request=request, as_of=as_of)):
            prepared = prepare(request=request, as_of=as_of, eval_share=eval_share)
            held_out = prepared.outputs["eval_rows"]
            trained = with_retries(
                train_embedder(
                    request=request,
                    as_of=as_of,
                    train_data=prepared.outputs["train_rows"],
                    eval_data=held_out,
                    learning_rate=learning_rate,
                    num_train_epochs=num_train_epochs,
                    per_device_train_batch_size=per_device_train_batch_size,
                )
            )
            with dsl.If(trained.outputs["status"] == "trained", name="something-new"):
                model = trained.outputs["model"]
                evaluate(request=request, as_of=as_of, model=model, eval_data=held_out)
                promote(
                    request=request,
                    as_of=as_of,
                    model=model,
                    result=trained.outputs["result"],
                    eval_data=held_out,
                    minimum_gain=minimum_gain,
                )

    return retrain


if __name__ == "__main__":
    # kfp brings 75,000 objects, and the collector need not look through them once more for the second that is left.
    gc.freeze()
    source, target = sys.argv[1:]
    compiler.Compiler().compile(build_pipeline(Path(source).read_text(encoding="utf-8")), target)
