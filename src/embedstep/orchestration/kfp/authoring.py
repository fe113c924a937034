"""The components as functions for the author of a pipeline: an editor completes them, and mistakes are told at once."""

import hashlib
import json
from typing import Any

from kfp import dsl
from typing_extensions import Unpack

from embedstep.orchestration.components import EVALUATE, MINE_NEGATIVES, OUTCOME, PREPARE, PROMOTE, TRAIN
from embedstep.orchestration.kfp.components import IMAGE, task_of
from embedstep.orchestration.typed_arguments import ArgumentParameters
from embedstep.request.document import parse_document
from embedstep.request.scalars import plain


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
    """Read the rows of a request, check them and lay them down, as a task of a pipeline.

    Args:
        request: the request, as `train_embedder` takes it.
        train_data: artifact with the rows to train on, over the paths of data.train.
        eval_data: artifact with the rows to evaluate with, over the paths of data.eval.
        as_of: up to when the data counts, over data.as_of.
        eval_share: share of the anchors that is held out of each training dataset without rows in data.eval.
        seed: another number holds out other anchors.
        image: image of the container.

    Raises:
        InvalidRequestError: with every problem of what is known before the pipeline runs.
    """
    artifacts = {"train_data": train_data, "eval_data": eval_data}
    parameters = {"as_of": as_of, "eval_share": eval_share, "seed": seed}
    return task_of(PREPARE, image, request, artifacts, parameters)


def mine_negatives(
    request: Any,
    *,
    train_data: Any = None,
    base_model: Any = None,
    as_of: Any = None,
    range_min: Any = None,
    range_max: Any = None,
    max_score: Any = None,
    min_score: Any = None,
    absolute_margin: Any = None,
    relative_margin: Any = None,
    sampling_strategy: Any = None,
    image: str = IMAGE,
) -> dsl.PipelineTask:
    """Find hard negatives for the columns that a request names for them, as a task of a pipeline.

    Args:
        request: the request, as `train_embedder` takes it.
        train_data: artifact with the rows to find negatives for, over the paths of data.train.
        base_model: artifact with the model to find them with, over model.
        as_of: up to when the data counts, over data.as_of.
        range_min: closest matches that are passed over.
        range_max: closest matches that are looked at.
        max_score: greatest similarity of a negative to the anchor.
        min_score: least similarity of a negative to the anchor.
        absolute_margin: how much less similar than the positive a negative has to be.
        relative_margin: the same, as a share of the positive's score.
        sampling_strategy: `top` takes the closest, `random` any of them.
        image: image of the container.

    Raises:
        InvalidRequestError: with every problem of what is known before the pipeline runs.
    """
    artifacts = {"train_data": train_data, "base_model": base_model}
    parameters = {
        "as_of": as_of, "range_min": range_min, "range_max": range_max, "max_score": max_score,
        "min_score": min_score, "absolute_margin": absolute_margin, "relative_margin": relative_margin,
        "sampling_strategy": sampling_strategy,
    }  # fmt: skip
    return task_of(MINE_NEGATIVES, image, request, artifacts, parameters)


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
    """Train a sentence-transformers model from one request, as a task of a pipeline.

    A request with `skip_if_unchanged` trains nothing where the champion is of the same rows.

    Args:
        request: the request: a file, its text, a mapping, what `reference` returns for a long one, or a channel.
        train_data: artifact with the rows to train on, over the paths of data.train.
        eval_data: artifact with the rows to evaluate with, over the paths of data.eval.
        base_model: artifact with the model to start from, over model.
        as_of: up to when the data counts, over data.as_of.
        image: image of the container.
        arguments: training arguments, each over that of the request; those that are left out change nothing.

    Raises:
        InvalidRequestError: with every problem of what is known before the pipeline runs.
    """
    artifacts = {"train_data": train_data, "eval_data": eval_data, "base_model": base_model}
    return task_of(TRAIN, image, request, artifacts, {"as_of": as_of, **arguments})


def evaluate(
    request: Any, *, model: Any, baseline: Any = None, eval_data: Any = None, as_of: Any = None, image: str = IMAGE
) -> dsl.PipelineTask:
    """Score a model with the evaluators of a request, as a task of a pipeline.

    Args:
        request: the request, as `train_embedder` takes it.
        model: artifact with the model.
        baseline: artifact with a model to compare it with.
        eval_data: artifact with the rows to evaluate with, over the paths of data.eval.
        as_of: up to when the data counts, over data.as_of.
        image: image of the container.

    Raises:
        InvalidRequestError: with every problem of what is known before the pipeline runs.
    """
    artifacts = {"model": model, "baseline": baseline, "eval_data": eval_data}
    return task_of(EVALUATE, image, request, artifacts, {"as_of": as_of})


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
    """Decide whether a trained model may serve, as a task of a pipeline.

    Args:
        request: the request, as `train_embedder` takes it.
        model: the model of `train_embedder`.
        result: the result of `train_embedder`.
        champion: artifact with a model to compare with; the registry is left as it is.
        eval_data: artifact with the rows to evaluate with, over the paths of data.eval.
        as_of: up to when the data counts, over data.as_of.
        metric: metric that decides, over promotion.metric.
        minimum_gain: least gain over the champion, over promotion.minimum_gain.
        confidence: how sure the gain has to be, over promotion.confidence.
        image: image of the container.

    Raises:
        InvalidRequestError: with every problem of what is known before the pipeline runs.
    """
    artifacts = {"model": model, "result": result, "champion": champion, "eval_data": eval_data}
    gate = {"metric": metric, "minimum_gain": minimum_gain, "confidence": confidence}
    return task_of(PROMOTE, image, request, artifacts, {"as_of": as_of, **gate})


def outcome(request: Any, *, as_of: Any = None, image: str = IMAGE) -> dsl.PipelineTask:
    """Write down how a pipeline ended: `with dsl.ExitHandler(outcome(request)): ...`.

    Args:
        request: the request, as `train_embedder` takes it.
        as_of: up to when the data counts.
        image: image of the container.

    Raises:
        InvalidRequestError: with every problem of what is known before the pipeline runs.
    """
    return task_of(OUTCOME, image, request, {}, {"as_of": as_of})


def one_line(text: str) -> str:
    """Return a request as one line of JSON, for the default of a pipeline's parameter.

    Kubeflow's compiler writes defaults into comments at the top of its file too, and a second line would be no comment.

    Args:
        text: the request, YAML or JSON.

    Raises:
        InvalidRequestError: the text is neither.
    """
    return json.dumps(plain(parse_document(text).data), ensure_ascii=False)


def reference(where: str, text: str) -> str:
    """Return what stands for a long request in a pipeline: where it lies, and its digest.

    Args:
        where: path or URL at which the step finds the file.
        text: what the file holds.
    """
    return f"{where}#sha256={hashlib.sha256(text.encode()).hexdigest()}"
