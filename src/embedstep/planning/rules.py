"""Rules across several fields of a request: one small pure function each. All run, and every problem is reported."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedstep.data.facts import SPLITS
from embedstep.errors import Problem, suggest
from embedstep.output.checkpoints import checkpoints_in
from embedstep.planning.batches import forms_batches
from embedstep.planning.corpora import corpora_are_searched
from embedstep.planning.node_reading import nodes_can_read
from embedstep.planning.transforms import transforms_fit
from embedstep.request.arguments.renames import as_written
from embedstep.request.arguments.rules import check_arguments
from embedstep.request.arguments.types import BATCH_SAMPLERS
from embedstep.request.schema import TrainRequest
from embedstep.request.trackers import CALLBACKS, MLFLOW, NONE, tracker_kind
from embedstep.runtime.secrets import holds_secret

LAST_CHECKPOINT = ("true", "last")
"""Values of `resume_from_checkpoint` that mean the newest checkpoint in the output folder."""
Fault = tuple[str, str]
"""A path in the request, and what is wrong there."""
Rule = Callable[[TrainRequest], Iterator[Fault]]


def check_rules(request: TrainRequest) -> list[Problem]:
    """Return every problem of the request that shows without its data, at the names that its author wrote."""
    found = [Problem(path, message) for rule in RULES for path, message in rule(request)]
    problems = [*check_arguments(request.arguments), *found, *nothing_is_secret(request)]
    # A rule reads current names only; its message stands at the older name where the author wrote that.
    paths = {f"arguments.{name}": f"arguments.{older}" for name, older in as_written(request.arguments).items()}
    return [replace(problem, path=paths.get(problem.path, problem.path)) for problem in problems]


def resume_is_consistent(request: TrainRequest) -> Iterator[Fault]:
    """`resume: never` and a named checkpoint contradict each other."""
    if request.resume == "never" and request.arguments.resume_from_checkpoint is not None:
        yield "resume", "is never, and arguments.resume_from_checkpoint names a checkpoint; remove one of them"


def pods_share_their_folder(request: TrainRequest) -> Iterator[Fault]:
    """Two nodes that write the same checkpoint into one folder would corrupt it."""
    if request.arguments.save_on_each_node and request.launch.kind == "trainjob" and request.launch.nodes > 1:
        message = "is true, and the pods share one output folder, where two would write the same files; remove it"
        yield "arguments.save_on_each_node", message


def every_dataset_has_a_loss(request: TrainRequest) -> Iterator[Fault]:
    """Each train dataset needs a loss, and each loss a train dataset."""
    if "*" in request.loss:
        for name in sorted(request.loss.keys() - {"*"}):
            yield f"loss.{name}", "conflicts with '*', the loss for every dataset; keep one of the two"
        return
    for name in sorted(request.data.train.keys() - request.loss.keys()):
        yield f"loss.{name}", f"is missing: data.train has a dataset {name!r}, and each needs a loss"
    for name in sorted(request.loss.keys() - request.data.train.keys()):
        yield f"loss.{name}", f"belongs to no dataset; data.train has {', '.join(request.data.train)}"


def pods_have_one_output(request: TrainRequest) -> Iterator[Fault]:
    """The pods of a TrainJob write to the folder of its section."""
    job, given = request.launch.trainjob, request.arguments.output_dir
    if job is not None and given is not None and given != job.output:
        yield "arguments.output_dir", f"is {given}, and the pods write to launch.trainjob.output: {job.output}"


def every_eval_dataset_is_used(request: TrainRequest) -> Iterator[Fault]:
    """An eval dataset is for a loss (by the name of its train dataset) or for an evaluator."""
    used = {evaluator.dataset for evaluator in request.evaluators} | request.data.train.keys()
    for name in sorted(request.data.eval.keys() - used):
        yield (
            f"data.eval.{name}",
            "is not used: name it in an evaluator, or give it the name of a train dataset for its loss "
            f"({', '.join(request.data.train)})",
        )


def test_data_is_for_prediction(request: TrainRequest) -> Iterator[Fault]:
    """`do_predict` gives the loss on data.test, by the loss of the train dataset of the same name."""
    asked = request.arguments.do_predict
    if asked and not request.data.test:
        yield "arguments.do_predict", "is true, but there is nothing under data.test"
    if request.data.test and not asked:
        yield "data.test", "is not used; write arguments.do_predict: true"
    for name in sorted(request.data.test.keys() - request.data.train.keys()):
        known = ", ".join(request.data.train)
        yield f"data.test.{name}", f"has no loss; give it the name of a train dataset ({known})"


def held_out_rows_have_a_place(request: TrainRequest) -> Iterator[Fault]:
    """What a train dataset holds out is the eval dataset of its name. That may be written, to say more of the rows."""
    for name, dataset in request.data.train.items():
        there = request.data.eval.get(name)
        if dataset.hold_out is None or there is None or there.hold_out == dataset.hold_out:
            continue
        place = f"data.train.{name}.hold_out"
        if there.hold_out is None:
            message = f"is there already, and {place} makes a dataset of that name; rename it, or remove one of the two"
            yield f"data.eval.{name}", message
        else:
            yield f"data.eval.{name}.hold_out", f"holds out other rows than {place}; write the same, or remove it"
    for name, dataset in request.data.test.items():
        if dataset.hold_out is not None:
            yield f"data.test.{name}.hold_out", "is for data.train, whose held-out rows become data.eval; remove it"


def as_of_is_set(request: TrainRequest) -> Iterator[Fault]:
    """A path or query with `{as_of}` needs a value for it."""
    for split in SPLITS:
        for name, dataset in getattr(request.data, split).items():
            beir = dataset.beir.model_dump(exclude_none=True).values() if dataset.beir else ()
            corpus = dataset.corpus.path if dataset.corpus else ()
            given = {"path": dataset.path or (), "sql": (dataset.sql or "",), "beir": beir, "corpus": corpus}
            for field, texts in given.items():
                if any("{as_of}" in text for text in texts):
                    yield f"data.{split}.{name}.{field}", "contains {as_of}; write data.as_of: 2026-11-02"


def champion_is_registered(request: TrainRequest) -> Iterator[Fault]:
    """`skip_if_unchanged` compares with the champion of the registry, so there must be a registry."""
    tracking = request.tracking
    if request.skip_if_unchanged and (tracking.kind != MLFLOW or tracking.register_as is None):
        yield "skip_if_unchanged", "compares with the champion in the registry; set tracking.register_as"


def a_run_has_one_name(request: TrainRequest) -> Iterator[Fault]:
    """`arguments.run_name` is the older place for `tracking.run_name`."""
    one, other = request.arguments.run_name, request.tracking.run_name
    if one is not None and other is not None and one != other:
        yield "arguments.run_name", f"is {one!r}, and tracking.run_name is {other!r}; keep one"


def aliases_are_free(request: TrainRequest) -> Iterator[Fault]:
    """MLflow reserves `latest` and `v` with a number for itself."""
    for index, alias in enumerate(request.tracking.aliases):
        if alias == "latest" or (alias.startswith("v") and alias[1:].isdecimal()):
            yield f"tracking.aliases.{index}", f"is {alias}, which MLflow reserves; choose another, such as challenger"


def batches_can_be_formed(request: TrainRequest) -> Iterator[Fault]:
    """What cannot be combined with batches that are formed by texts, labels or lengths."""
    arguments = request.arguments
    sampler = arguments.batch_sampler
    if arguments.train_sampling_strategy == "sequential" and sampler != "batch_sampler":
        message = f"is sequential, and batch_sampler {sampler} needs another order; keep one of the two"
        yield "arguments.train_sampling_strategy", message
    if arguments.train_sampling_strategy == "group_by_length" and sampler not in BATCH_SAMPLERS:
        message = f"is group_by_length, and batch_sampler {sampler} forms its batches by itself; keep one of the two"
        yield "arguments.train_sampling_strategy", message
    if sampler == "group_by_label":
        yield from pairs_fill("per_device_train_batch_size", arguments.per_device_train_batch_size)
    if sampler == "group_by_label" and arguments.auto_find_batch_size:
        yield "arguments.auto_find_batch_size", "tries odd batch sizes, which group_by_label cannot use; remove it"
    settings = arguments.accelerator_config or {}
    for name in ("split_batches", "dispatch_batches"):
        if forms_batches(arguments) and settings.get(name):
            message = "would divide batches that are already divided among the processes; remove it"
            yield f"arguments.accelerator_config.{name}", message


def pairs_fill(argument: str, size: int, batches: str = "batches") -> Iterator[Fault]:
    """A batch of group_by_label is made of pairs of rows, of at least two labels."""
    if size < 4 or size % 2:
        message = f"is {size}; group_by_label fills {batches} with pairs of rows; write an even number of 4 or more"
        yield f"arguments.{argument}", message


def noise_needs_a_transformer(request: TrainRequest) -> Iterator[Fault]:
    """NEFTune adds noise to the token embeddings of a transformer."""
    if request.arguments.neftune_noise_alpha is not None and request.model.static:
        yield "arguments.neftune_noise_alpha", "needs a transformer, and model.static is a static embedding"


def checkpoint_exists(request: TrainRequest) -> Iterator[Fault]:
    """A named checkpoint is a folder with the state of a trainer and of its optimizer.

    It may be missing where its folder has other checkpoints: a training that began there has saved newer ones since.
    """
    given = request.arguments.resume_from_checkpoint
    if given is None or given in LAST_CHECKPOINT:
        return
    folder = Path(given).expanduser()
    if not folder.exists() and any(checkpoints_in(folder.parent)):
        return
    if not (folder / "trainer_state.json").is_file():
        yield "arguments.resume_from_checkpoint", f"{given} is not a checkpoint: it has no trainer_state.json"
    elif not (folder / "optimizer.pt").is_file():
        message = "was saved with save_only_model, so it has no state of the optimizer; train from it as `model`"
        yield "arguments.resume_from_checkpoint", f"{given} {message}"


def evaluators_are_distinct(request: TrainRequest) -> Iterator[Fault]:
    """Evaluators with the same name would write the same metrics; each needs an eval dataset that exists."""
    seen = set()
    for index, evaluator in enumerate(request.evaluators):
        if evaluator.name in seen:
            yield f"evaluators.{index}.name", f"{evaluator.name!r} is used twice; give each evaluator its own name"
        seen.add(evaluator.name)
        if evaluator.dataset is not None and evaluator.dataset not in request.data.eval:
            known = ", ".join(request.data.eval) or "none"
            yield f"evaluators.{index}.dataset", f"{evaluator.dataset!r} is not in data.eval ({known})"


def evaluation_has_a_strategy(request: TrainRequest) -> Iterator[Fault]:
    """Evaluation needs both data and a strategy; one without the other does nothing."""
    arguments = request.arguments
    given = arguments.model_fields_set
    asked = "eval_strategy" in given or ("do_eval" in given and not arguments.is_dump)
    # `embedstep evaluate` and `promote` use the data of evaluators after the training.
    is_scored = any(evaluator.dataset in request.data.eval for evaluator in request.evaluators)
    is_used = arguments.eval_on_start or arguments.do_eval or is_scored
    if request.has_evaluation and asked and arguments.eval_strategy == "no" and not is_used:
        unused = "hold_out" if request.data.eval and request.data.eval.keys() == request.data.held_out else "data.eval"
        message = f"is no, so {unused} is never used; write epoch or steps, or remove {unused}"
        yield "arguments.eval_strategy", message
    if not request.has_evaluation and arguments.do_eval and not arguments.is_dump:
        yield "arguments.do_eval", "is true, but there is nothing under data.eval"
    if not request.has_evaluation and arguments.eval_on_start:
        yield "arguments.eval_on_start", "is true, but there is nothing under data.eval"
    if arguments.eval_strategy == "steps" and not arguments.eval_steps and not arguments.logging_steps:
        yield "arguments.eval_steps", "is missing: eval_strategy is steps, and logging_steps is 0"
    is_never = not request.has_evaluation or (asked and arguments.eval_strategy == "no")
    if arguments.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy") and is_never:
        yield "arguments.lr_scheduler_type", f"is {arguments.lr_scheduler_type}, which needs evaluations while training"
    if not request.has_evaluation and arguments.eval_strategy != "no":
        yield "arguments.eval_strategy", f"is {arguments.eval_strategy}, but there is nothing under data.eval"


def best_model_can_be_found(request: TrainRequest) -> Iterator[Fault]:
    """Loading the best model needs a checkpoint at each evaluation."""
    arguments = request.arguments
    if arguments.save_strategy == "best" and arguments.metric_for_best_model is None:
        yield "arguments.metric_for_best_model", "is missing: save_strategy is best"
    if not arguments.load_best_model_at_end:
        return
    evaluate = arguments.eval_strategy if "eval_strategy" in arguments.model_fields_set else "epoch"
    save = arguments.save_strategy
    if not request.has_evaluation:
        yield "arguments.load_best_model_at_end", "needs something to evaluate with under data.eval"
    elif save not in (evaluate, "best"):
        yield (
            "arguments.save_strategy",
            f"is {save} and eval_strategy is {evaluate}; the best model needs both to be the same",
        )
    elif save == "steps":
        every = arguments.eval_steps or arguments.logging_steps
        if (every < 1) != (arguments.save_steps < 1):
            yield "arguments.save_steps", "and eval_steps must both be steps or both be shares to find the best model"
        elif not _is_multiple(arguments.save_steps, every):
            yield "arguments.save_steps", f"{arguments.save_steps:g} is not a multiple of eval_steps {every:g}"


def _is_multiple(value: float, of: float) -> bool:
    """Whether one interval is a multiple of another; shares are compared in millionths, as transformers does."""
    scale = 1_000_000 if of < 1 else 1
    return round(value * scale) % max(round(of * scale), 1) == 0


def early_stopping_has_a_best_model(request: TrainRequest) -> Iterator[Fault]:
    """The callback compares with the best checkpoint, and the training must not publish the last, worse model."""
    if request.early_stopping is not None and not request.arguments.load_best_model_at_end:
        message = "is missing: early_stopping ends after the best checkpoint; write true, with evaluations"
        yield "arguments.load_best_model_at_end", message


def trackers_are_known(request: TrainRequest) -> Iterator[Fault]:
    """`all` and `none` cannot be combined; MLflow is set up by `tracking`, so that must be on."""
    trackers = request.arguments.report_to or []
    for word in ("all", "none"):
        if word in trackers and len(trackers) > 1:
            yield "arguments.report_to", f"{word} cannot be combined with other trackers"
    for tracker in sorted(set(trackers) - CALLBACKS.keys() - {"all", "none"}):
        hint = suggest(tracker, CALLBACKS) or f"; known are {', '.join(CALLBACKS)}; several are a list"
        yield "arguments.report_to", f"{tracker} is not a tracker{hint}"
    for tracker in trackers:
        if tracker in ("mlflow", "azure_ml") and request.tracking.kind != MLFLOW:
            message = f"names {tracker}, and tracking.kind is {request.tracking.kind}; write tracking.kind: mlflow"
            yield "arguments.report_to", message


def tracker_is_declared(request: TrainRequest) -> Iterator[Fault]:
    """A tracker of another package is declared, and what only MLflow can do is asked of MLflow only."""
    tracking = request.tracking
    if tracking.kind == NONE or tracking.kind == MLFLOW:
        return
    try:
        tracker_kind(tracking.kind)
    except (LookupError, ValueError) as error:
        yield "tracking.kind", str(error)
    if tracking.register_as is not None:
        yield "tracking.register_as", f"is a name in MLflow's registry, and tracking.kind is {tracking.kind}"
    if tracking.mode in ("attach", "nest"):
        yield "tracking.mode", f"is about a run in MLflow, and tracking.kind is {tracking.kind}; remove it"


def nothing_is_secret(request: TrainRequest) -> Iterator[Problem]:
    """A request is saved in many places, so it must not contain a secret."""
    for path, text in _texts(request.model_dump(mode="json"), ""):
        if holds_secret(text):
            yield Problem(path, "contains a password, token or signature; pass it by an environment variable instead")


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield each text in plain data with its path; a key of a mapping counts as a text at the mapping's path."""
    match value:
        case str():
            yield path, value
        case dict():
            for key, inner in value.items():
                yield path, key
                yield from _texts(inner, f"{path}.{key}" if path else key)
        case list():
            for index, inner in enumerate(value):
                yield from _texts(inner, f"{path}.{index}")


RULES: Sequence[Rule] = (
    as_of_is_set,
    champion_is_registered,
    test_data_is_for_prediction,
    held_out_rows_have_a_place,
    a_run_has_one_name,
    aliases_are_free,
    batches_can_be_formed,
    transforms_fit,
    nodes_can_read,
    noise_needs_a_transformer,
    checkpoint_exists,
    resume_is_consistent,
    pods_share_their_folder,
    every_dataset_has_a_loss,
    every_eval_dataset_is_used,
    corpora_are_searched,
    pods_have_one_output,
    evaluators_are_distinct,
    evaluation_has_a_strategy,
    best_model_can_be_found,
    early_stopping_has_a_best_model,
    trackers_are_known,
    tracker_is_declared,
)
