"""Retraining with ZenML: prepare, train, evaluate, and promote a better model.

    python -m pipelines.zenml_retrain.pipeline REQUEST [CONFIG]

runs it on the active stack, after `zenml init`. CONFIG is a configuration file of ZenML, such as `config.yaml` in this
folder. Its arguments override those of the request.
"""

import sys
from pathlib import Path

from zenml import pipeline

from embedstep.orchestration.zenml import evaluate_embedder, prepare_data, promote_embedder, train_embedder


@pipeline
def retraining(request: str, as_of: str | None = None, eval_share: float = 0.0) -> None:
    """Train on new rows, and promote the model if it is better than the champion.

    Args:
        request: the request as YAML or JSON.
        as_of: use data up to this time; None for data.as_of of the request.
        eval_share: share of the anchors to split off a dataset that data.eval does not name.
    """
    train_rows, eval_rows, prepared = prepare_data(request=request, as_of=as_of, eval_share=eval_share)
    train, evaluate = (one.with_options(enable_cache=True) for one in (train_embedder, evaluate_embedder))
    model, _, _, _ = train(request=request, as_of=as_of, train_data=train_rows, eval_data=eval_rows, prepared=prepared)
    evaluate(request=request, as_of=as_of, model=model, eval_data=eval_rows)
    promote_embedder(request=request, as_of=as_of, model=model, eval_data=eval_rows)


if __name__ == "__main__":
    source, *config = sys.argv[1:]
    configured = retraining.with_options(config_path=config[0]) if config else retraining
    configured(request=Path(source).read_text(encoding="utf-8"))
