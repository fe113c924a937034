"""The components as functions for pipeline authors. Written by `make golden` from `orchestration/components.py`."""

from typing import Any

from kfp import dsl
from typing_extensions import Unpack

from embedstep.orchestration.kfp.components import IMAGE, create_task
from embedstep.orchestration.typed_arguments import ArgumentParameters

# Each function passes its parameters on by `locals()`, so that it need not list them again.
__all__ = ["evaluate", "mine_negatives", "outcome", "prepare", "promote", "train_embedder"]


def prepare(
    request: Any,
    *,
    train_data: Any = None,
    eval_data: Any = None,
    as_of: Any = None,
    eval_share: Any = None,
    seed: Any = None,
    image: str = IMAGE,
) -> dsl.PipelineTask:
    """Read and check the rows of a request, drop duplicates, split off evaluation rows, and write Parquet.

    Args:
        request: the request as YAML or JSON, or `<path or URL>#sha256=<digest>` if it is longer than 8 KB. A path,
            a mapping or a channel works as well.
        train_data: training rows, in place of the paths in data.train: a file or folder for one dataset, else a
            folder with `<dataset>.parquet` for each. Default: the paths in the request.
        eval_data: evaluation rows, in place of the paths in data.eval: a file or folder for one dataset, else a
            folder with `<dataset>.parquet` for each.
        as_of: use data up to this ISO 8601 date or time. Overrides data.as_of.
        eval_share: share of the anchors to hold out of each training dataset that data.eval does not name.
        seed: seed of that split. Default: 42.
        image: image of the container.

    Raises:
        InvalidRequestError: everything that is wrong and known before the pipeline runs.
    """
    return create_task("prepare", **locals())


def mine_negatives(
    request: Any,
    *,
    train_data: Any = None,
    base_model: Any = None,
    as_of: Any = None,
    corpus: Any = None,
    corpus_column: Any = None,
    cross_encoder: Any = None,
    range_min: Any = None,
    range_max: Any = None,
    max_score: Any = None,
    min_score: Any = None,
    absolute_margin: Any = None,
    relative_margin: Any = None,
    sampling_strategy: Any = None,
    query_prompt: Any = None,
    query_prompt_name: Any = None,
    corpus_prompt: Any = None,
    corpus_prompt_name: Any = None,
    batch_size: Any = None,
    faiss_batch_size: Any = None,
    use_faiss: Any = None,
    use_multi_process: Any = None,
    image: str = IMAGE,
) -> dsl.PipelineTask:
    """Mine hard negatives with sentence-transformers, for the negative columns that a request names.

    Args:
        request: the request as YAML or JSON, or `<path or URL>#sha256=<digest>` if it is longer than 8 KB. A path,
            a mapping or a channel works as well.
        train_data: training rows, in place of the paths in data.train: a file or folder for one dataset, else a
            folder with `<dataset>.parquet` for each.
        base_model: model to mine with, in place of the one in the request.
        as_of: use data up to this ISO 8601 date or time. Overrides data.as_of.
        corpus: documents to mine among besides the positives of the rows: file, folder, glob or fsspec URL.
        corpus_column: column of the corpus with the documents. Default: the column of the positive.
        cross_encoder: cross-encoder that scores the candidates again for margins and scores: folder or hub id.
        range_min: number of closest matches to skip.
        range_max: number of closest matches to consider.
        max_score: highest similarity of a negative to the anchor.
        min_score: lowest similarity of a negative to the anchor.
        absolute_margin: minimum difference between the positive's similarity and a negative's.
        relative_margin: the same, as a fraction of the positive's similarity. Default: 0.05 without
            absolute_margin; 0 for none.
        sampling_strategy: `top` takes the closest, `random` samples among them by arguments.seed. (one of top,
            random)
        query_prompt: prompt of the anchors, in place of the one that they are trained with.
        query_prompt_name: the same, by its name in the model.
        corpus_prompt: prompt of the documents, in place of the one that the positives are trained with.
        corpus_prompt_name: the same, by its name in the model.
        batch_size: texts that are embedded at once.
        faiss_batch_size: queries that are scored against all documents at once. Default: 1,024, or fewer with many
            documents.
        use_faiss: search with FAISS, which has to be installed.
        use_multi_process: embed on all GPUs, or by four processes without one.
        image: image of the container.

    Raises:
        InvalidRequestError: everything that is wrong and known before the pipeline runs.
    """
    return create_task("mine_negatives", **locals())


def train_embedder(
    request: Any,
    *,
    train_data: Any = None,
    eval_data: Any = None,
    base_model: Any = None,
    as_of: Any = None,
    image: str = IMAGE,
    **arguments: Unpack[ArgumentParameters],
) -> dsl.PipelineTask:
    """Train a sentence-transformers model from one request.

    Args:
        request: the request as YAML or JSON, or `<path or URL>#sha256=<digest>` if it is longer than 8 KB. A path,
            a mapping or a channel works as well.
        train_data: training rows, in place of the paths in data.train: a file or folder for one dataset, else a
            folder with `<dataset>.parquet` for each.
        eval_data: evaluation rows, in place of the paths in data.eval: a file or folder for one dataset, else a
            folder with `<dataset>.parquet` for each.
        base_model: base model, in place of the one in the request.
        as_of: use data up to this ISO 8601 date or time. Overrides data.as_of.
        image: image of the container.
        arguments: training arguments that override those in the request.

    Raises:
        InvalidRequestError: everything that is wrong and known before the pipeline runs.
    """
    return create_task("train_embedder", **locals())


def evaluate(
    request: Any, *, model: Any, baseline: Any = None, eval_data: Any = None, as_of: Any = None, image: str = IMAGE
) -> dsl.PipelineTask:
    """Score a model with the evaluators of a request on its eval data, and compare it with a baseline.

    Args:
        request: the request as YAML or JSON, or `<path or URL>#sha256=<digest>` if it is longer than 8 KB. A path,
            a mapping or a channel works as well.
        model: the model to score.
        baseline: model to compare it with.
        eval_data: evaluation rows, in place of the paths in data.eval: a file or folder for one dataset, else a
            folder with `<dataset>.parquet` for each.
        as_of: use data up to this ISO 8601 date or time. Overrides data.as_of.
        image: image of the container.

    Raises:
        InvalidRequestError: everything that is wrong and known before the pipeline runs.
    """
    return create_task("evaluate", **locals())


def promote(
    request: Any,
    *,
    model: Any,
    result: Any,
    champion: Any = None,
    eval_data: Any = None,
    as_of: Any = None,
    metric: Any = None,
    minimum_gain: Any = None,
    confidence: Any = None,
    image: str = IMAGE,
) -> dsl.PipelineTask:
    """Compare a trained model with the champion, and promote it in the registry if it is better.

    Args:
        request: the request as YAML or JSON, or `<path or URL>#sha256=<digest>` if it is longer than 8 KB. A path,
            a mapping or a channel works as well.
        model: the model that train_embedder returned.
        result: the result that train_embedder returned.
        champion: model to compare with in place of the registry's champion; the registry is not changed.
        eval_data: evaluation rows, in place of the paths in data.eval: a file or folder for one dataset, else a
            folder with `<dataset>.parquet` for each.
        as_of: use data up to this ISO 8601 date or time. Overrides data.as_of.
        metric: metric to compare by, such as `docs_cosine_ndcg@10`. Null: the first evaluator's nDCG at 10.
        minimum_gain: minimum gain over the champion, in units of the metric.
        confidence: confidence level at which the gain must be above zero.
        image: image of the container.

    Raises:
        InvalidRequestError: everything that is wrong and known before the pipeline runs.
    """
    return create_task("promote", **locals())


def outcome(request: Any, *, as_of: Any = None, image: str = IMAGE) -> dsl.PipelineTask:
    """Record how a pipeline ended, as its exit task.

    Args:
        request: the request as YAML or JSON, or `<path or URL>#sha256=<digest>` if it is longer than 8 KB. A path,
            a mapping or a channel works as well.
        as_of: use data up to this ISO 8601 date or time. Overrides data.as_of.
        image: image of the container.

    Raises:
        InvalidRequestError: everything that is wrong and known before the pipeline runs.
    """
    return create_task("outcome", **locals())
