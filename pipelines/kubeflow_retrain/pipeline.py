"""Retraining with Kubeflow Pipelines: prepare, train, evaluate, and promote a better model.

    python -m pipelines.kubeflow_retrain.pipeline REQUEST FILE

compiles a pipeline for a request. Arguments that people tune are parameters of the pipeline, with the values in the
request as defaults.
"""

import gc
import sys
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from embedstep import load_request
from embedstep.orchestration.kfp import evaluate, one_line, outcome, prepare, promote, train_embedder, with_retries


def build_pipeline(request: str) -> Any:
    """Build the pipeline that retrains the model of a request.

    Args:
        request: text of the request.

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
            request: the request as YAML or JSON, or `<path or URL>#sha256=<digest>` if it is longer than 8 KB.
            as_of: use data up to this ISO 8601 date or time; empty for data.as_of of the request.
            eval_share: share of the anchors to split off a dataset that data.eval does not name.
            learning_rate: peak learning rate.
            num_train_epochs: passes over the rows.
            per_device_train_batch_size: rows per process in a train step.
            minimum_gain: minimum gain over the champion, in units of the metric.
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
    # kfp creates 75,000 objects that need no garbage collection in the second that is left.
    gc.freeze()
    source, target = sys.argv[1:]
    compiler.Compiler().compile(build_pipeline(Path(source).read_text(encoding="utf-8")), target)
