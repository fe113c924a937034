"""Every check of a request before it runs: by itself, against its data, and against its plan. Needs no torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from embedstep.data.facts import DatasetFacts
from embedstep.data.fetching import sources_are_valid
from embedstep.data.hub import is_on_hub, suggest_folder
from embedstep.errors import Problem
from embedstep.output.adapters import ADAPTER_CONFIG
from embedstep.output.position import position_problems
from embedstep.planning.adapters import QUANTIZATION, quantization
from embedstep.planning.architecture import ROUTER, first_without_transformer, unreached_parameter
from embedstep.planning.batch_samplers import check_batch_sampler, reads_labels
from embedstep.planning.evaluators import check_evaluator_data, classifiers_are_trained, evaluators_are_known
from embedstep.planning.losses import LOSSES, check_loss_data, innermost, losses_are_known
from embedstep.planning.metrics import evaluates_loss, suggest_metrics
from embedstep.planning.model_checks import check_model
from embedstep.planning.placeholders import placeholders_are_filled, without_placeholders
from embedstep.planning.plan import Plan, PlannedDataset
from embedstep.planning.prompt_checks import check_prompts
from embedstep.planning.row_notes import held_out_rows_are_held_out, rows_are_distinct
from embedstep.planning.rules import LAST_CHECKPOINT, check_rules, pairs_fill
from embedstep.planning.transforms import drawn_facts, rows_can_be_drawn, section_of
from embedstep.request.schema import TrainRequest, loss_path
from embedstep.runtime.text import count


def check_request(request: TrainRequest) -> list[Problem]:
    """Return every problem of the request that shows before any data is read, each once."""
    problems = [
        # Every problem is reported, so that its author need not start again for each.
        *check_rules(request),
        *model_exists(request),
        *check_model(request),
        *losses_are_known(request),
        *evaluators_are_known(request),
        *classifiers_are_trained(request),
        *sources_are_valid(request),
        *check_batch_sampler(request.arguments.batch_sampler),
        *losses_fit_the_model(request),
        *labels_can_be_smoothed(request),
        *check_prompts(request),
    ]
    return [*placeholders_are_filled(request), *without_placeholders(request, dict.fromkeys(problems))]


def check_with_data(request: TrainRequest, facts: Sequence[DatasetFacts]) -> list[Problem]:
    """Return every problem between the request and its data, each once."""
    problems = [
        *losses_fit(request, facts),
        *rows_can_be_drawn(request, facts),
        *evaluators_fit(request, facts),
        *samplers_fit(request, facts),
        *evaluations_fit_the_sampler(request, facts),
        *rows_are_distinct(request, facts),
        *held_out_rows_are_held_out(request, facts),
    ]
    return list(dict.fromkeys(problems))


def check_plan(request: TrainRequest, plan: Plan) -> list[Problem]:
    """Return every problem that shows only in the plan: no steps, too few rows, an unknown metric."""
    return [
        *processes_fit(request, plan),
        *precision_fits(request, plan),
        *distribution_fits(request, plan),
        *quantization_has_a_gpu(request, plan),
        *recomputation_is_distributed(request, plan),
        *losses_average_gradients(request, plan),
        *routes_share_processes(request, plan),
        *plan_has_steps(request, plan),
        *evaluation_is_possible(request, plan),
        *best_metric_is_known(request, plan),
        *checkpoint_has_same_order(request, plan),
    ]


def _bare_adapter(source: Path) -> Path | None:
    """Return the folder of an adapter that was saved without the modules of a sentence-transformers model."""
    if (source / "modules.json").is_file():
        return None
    return next((file.parent for at in ("", "*/") for file in source.glob(f"{at}{ADAPTER_CONFIG}")), None)


def model_exists(request: TrainRequest) -> Iterator[Problem]:
    """A model path must exist and hold a model; a hub id is looked up when the step starts."""
    field = "path" if request.model.path else "static"
    source = Path(request.model.source).expanduser()
    if is_on_hub(request.model) or (request.model.path is None and request.model.modules):
        return
    if request.model.revision is not None:
        yield Problem("model.revision", f"needs a model on the hub, and {source} is a path; remove it")
    known: tuple[str, ...] = ("modules.json", "config.json")
    if request.model.dimension is not None:
        # A static model with random vectors needs only the tokenizer.
        known = (*known, "tokenizer.json")
    if not source.exists():
        yield Problem(f"model.{field}", f"{source} does not exist{suggest_folder(request.model.source)}")
    elif (adapter := _bare_adapter(source)) is not None:
        merged = "merge it into its base model (peft: merge_and_unload) and save that"
        yield Problem(f"model.{field}", f"{adapter} holds an adapter, such as LoRA, and no model; {merged}")
    elif source.is_dir() and not any((source / name).exists() for name in known):
        yield Problem(f"model.{field}", f"{source} holds no model: it has no {' and no '.join(known)}")
    elif source.is_file() and (request.model.path or source.suffix != ".json"):
        yield Problem(f"model.{field}", f"{source} is a file; name the folder of a saved model")


def processes_fit(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """Processes that share a GPU are slower than one."""
    processes = plan.world_size // request.launch.nodes
    if not plan.on_cpu and processes > plan.gpus:
        visible = f"{plan.gpus} GPU{'s are' if plan.gpus > 1 else ' is'} visible"
        yield Problem("launch.processes_per_node", f"is {processes}, and {visible}; write auto")


def precision_fits(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """On a CPU `fp16` and `tf32` would silently train in full precision."""
    for name in ("fp16", "tf32"):
        if plan.on_cpu and getattr(request.arguments, name):
            yield Problem(f"arguments.{name}", "is true, and no GPU is used; write bf16, or remove it")


def distribution_fits(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """What several processes need, and what they do not support."""
    arguments, processes = request.arguments, plan.world_size
    settings = arguments.accelerator_config or {}
    size, backend = arguments.per_device_train_batch_size, arguments.ddp_backend
    if settings.get("dispatch_batches") and (processes > 1 or len(request.data.train) > 1):
        what = "texts" if processes > 1 else "the name of the dataset"
        message = f"sends {what} from one process to the others, which the libraries do not support; remove it"
        is_older = "dispatch_batches" in arguments.model_fields_set
        place = "dispatch_batches" if is_older else "accelerator_config.dispatch_batches"
        yield Problem(f"arguments.{place}", message)
    if processes > 1 and settings.get("split_batches") and size % processes:
        message = f"is {size}, which {processes} processes cannot split evenly; write a multiple of {processes}"
        yield Problem("arguments.per_device_train_batch_size", message)
    if processes > 1 and plan.on_cpu and backend not in (None, "gloo", "mpi", "ccl"):
        yield Problem("arguments.ddp_backend", f"is {backend}, and the processes are on the CPU; write gloo")
    if arguments.fsdp and (processes == 1 or plan.on_cpu):
        needed = "a GPU for each process" if plan.on_cpu else "several processes"
        yield Problem("arguments.fsdp", f"needs {needed}; remove it, or write it where they are")


def quantization_has_a_gpu(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """The kernels for quantized weights are made for GPUs."""
    if plan.on_cpu and quantization(request.model):
        yield Problem(QUANTIZATION, "needs a GPU, and this run computes on the CPU; remove it")


def recomputation_is_distributed(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """Reentrant checkpointing runs the backward pass of a layer once for each text column, which DDP takes for a fault.

    torch raises "Expected to mark a variable ready only once" in the first step, unless the graph is static.
    """
    arguments = request.arguments
    options = arguments.activation_checkpointing_kwargs or {}
    is_used = arguments.activation_checkpointing and options.get("use_reentrant")
    if is_used and plan.world_size > 1 and not arguments.ddp_static_graph and not arguments.fsdp:
        is_older = "gradient_checkpointing_kwargs" in arguments.model_fields_set
        name = "gradient_checkpointing_kwargs" if is_older else "activation_checkpointing_kwargs"
        message = f"is true, which fails with {plan.world_size} processes; write use_reentrant: false"
        yield Problem(f"arguments.{name}.use_reentrant", message)


def losses_fit(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[Problem]:
    """Each loss gets the columns and labels that it needs, in training and in evaluation."""
    for item in facts:
        loss = request.loss_of(item.name)
        if loss is not None and (item.split != "eval" or evaluates_loss(request, item.name)):
            yield from check_loss_data(loss, drawn_facts(request, item), section_of(request, item).columns)


def losses_fit_the_model(request: TrainRequest) -> Iterator[Problem]:
    """Some losses need a transformer."""
    for name, loss in request.loss.items():
        kind = innermost(loss)
        if kind is not None and kind.needs_transformer and (other := first_without_transformer(request.model)):
            yield Problem(loss_path(name), f"{kind.name} needs a transformer, and {other}")


def labels_can_be_smoothed(request: TrainRequest) -> Iterator[Problem]:
    """Label smoothing needs a loss that ends in a cross-entropy over classes."""
    factor = request.arguments.label_smoothing_factor
    for kind in filter(None, map(innermost, request.loss.values())):
        if factor and kind.cross_entropy is None:
            able = " or ".join(other.name for other in LOSSES.values() if other.cross_entropy)
            yield Problem(
                "arguments.label_smoothing_factor",
                f"is {factor:g}, and {kind.name} has no classes to smooth; remove it, or train with {able}",
            )


def losses_average_gradients(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """A loss whose gradients are not averaged would train a different model in each process."""
    for name, loss in request.loss.items():
        kind = innermost(loss)
        if plan.world_size > 1 and kind is not None and not kind.averages_gradients:
            yield Problem(
                loss_path(name),
                f"{kind.name} does not average gradients between processes in the installed sentence-transformers, so "
                f"each of the {plan.world_size} processes would train its own model; "
                "write launch.processes_per_node: 1",
            )


def routes_share_processes(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """With a router, each of the model's calls in a step leaves parameters out, which DDP would take for unused."""
    if plan.world_size == 1 or plan.model is None or ROUTER not in plan.model.modules:
        return
    asked = request.arguments.ddp_find_unused_parameters
    if asked is not False:
        message = f"is {'missing' if asked is None else 'true'}; a router on {plan.world_size} processes needs false"
        yield Problem("arguments.ddp_find_unused_parameters", message)
    if name := unreached_parameter(request.model, plan.fetched_model):
        message = f"leaves {name} to train, which no text reaches; a router on several processes needs it frozen"
        yield Problem("model.freeze", f"{message}: [pooler]")


def evaluators_fit(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[Problem]:
    """Each evaluator gets the columns that it needs."""
    by_name = {item.name: item for item in facts if item.split == "eval"}
    for evaluator in request.evaluators:
        if item := by_name.get(evaluator.dataset or ""):
            yield from check_evaluator_data(evaluator, item, section_of(request, item).columns)


def samplers_fit(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[Problem]:
    """The batch sampler must form the batches that the loss needs."""
    sampler = request.arguments.batch_sampler
    for item in facts:
        loss = request.loss_of(item.name)
        kind = innermost(loss) if loss else None
        if item.split != "train" or kind is None:
            continue
        if kind.needs_label_groups and sampler != "group_by_label":
            yield Problem(
                "arguments.batch_sampler",
                f"is {sampler}, but {kind.name} learns only from rows that share a label in one batch; "
                "write group_by_label",
            )
        if reads_labels(sampler) and item.label != "integer":
            message = f"is {sampler}, which reads labels, and {item.place} has no column of integers as label"
            yield Problem("arguments.batch_sampler", message)
        if kind.needs_label_groups and len(item.label_values) == 1:
            yield Problem(item.place, f"has one label only, from which {kind.name} learns nothing")


def evaluations_fit_the_sampler(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[Problem]:
    """Evaluation losses use the same batch sampler, so their data needs labels with two rows each, too."""
    if request.arguments.batch_sampler != "group_by_label":
        return
    for item in facts:
        if item.split == "train" or not evaluates_loss(request, item.name):
            continue
        if item.label != "integer":
            yield Problem(item.place, "needs integer labels for its loss with group_by_label")
            continue
        paired = sum(count > 1 for count in item.label_values.values())
        if item.label_values and paired < 2:  # empty for more than 1,000 labels, which are not counted
            message = "needs two labels with two rows each for its loss with group_by_label"
            yield Problem(item.place, f"{message}; it has {paired}")
        argument = "per_device_eval_batch_size"
        size, batches = request.arguments.per_device_eval_batch_size, f"batches of data.{item.split}"
        yield from (Problem(path, message) for path, message in pairs_fill(argument, size, batches))


def plan_has_steps(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """A dataset smaller than one batch of every process trains nothing."""
    size = request.arguments.per_device_train_batch_size
    for item in plan.datasets:
        if item.split == "train" and not item.batches and request.trains and _is_at_fault(plan, item):
            yield Problem(item.place, _no_batch(request, plan, item, "per_device_train_batch_size", size))
    batches = sum(item.batches or 0 for item in plan.datasets if item.split == "train")
    if batches and not plan.steps_per_epoch and request.trains:
        rows = sum(item.rows for item in plan.datasets if item.split == "train")
        made = f"{count(rows, 'row')} {'is' if rows == 1 else 'are'} {count(batches, 'batch')} of {size}"
        less = "write a smaller per_device_train_batch_size, or fewer processes"
        yield Problem("data.train", f"gives 0 steps an epoch: {made} for {count(plan.world_size, 'process')}; {less}")


def _is_at_fault(plan: Plan, item: PlannedDataset) -> bool:
    """With round_robin a dataset without a batch leaves the others without a step, too; only it is reported."""
    return item.largest_batch is not None or all(other.largest_batch is None for other in plan.datasets)


def _no_batch(request: TrainRequest, plan: Plan, item: PlannedDataset, argument: str, size: int) -> str:
    """Return why there is no batch of the size that an argument gives, and the largest size that would work."""
    if item.largest_batch is None:
        return f"has {count(item.rows, 'row')}, fewer than one batch of {size}; write a smaller {argument}"
    needed = count(size, "row") + (f" for each of {plan.world_size} processes" if plan.world_size > 1 else "")
    kind = "with two labels" if request.arguments.batch_sampler == "group_by_label" else "without a text twice"
    if not item.largest_batch:
        return f"has {count(item.rows, 'row')}, and no batch of any size {kind} can be made of them"
    return f"gives no batch of {needed} {kind}; write {argument}: {item.largest_batch} or less"


def evaluation_is_possible(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """Each process needs at least one row to evaluate, and a loss at least one batch."""
    size = request.arguments.per_device_eval_batch_size
    for item in plan.datasets:
        if item.split != "train" and item.rows < plan.world_size:
            yield Problem(item.place, f"has {count(item.rows, 'row')} for {plan.world_size} processes")
        elif item.split != "train" and item.batches == 0:
            yield Problem(item.place, _no_batch(request, plan, item, "per_device_eval_batch_size", size))


def checkpoint_has_same_order(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """A named checkpoint must have the same data, seed and batches, or rows would repeat and others be skipped."""
    given = request.arguments.resume_from_checkpoint
    if given is not None and given not in LAST_CHECKPOINT and not request.arguments.ignore_data_skip:
        yield from position_problems(Path(given).expanduser(), plan.position)


def best_metric_is_known(request: TrainRequest, plan: Plan) -> Iterator[Problem]:
    """A metric that no evaluation logs would fail the run at its first evaluation."""
    given = request.arguments.metric_for_best_model
    is_needed = request.arguments.lr_scheduler_type == "reduce_lr_on_plateau"
    if given is None and not is_needed and not request.arguments.load_best_model_at_end:
        return
    name = given or "loss"
    if f"eval_{name.removeprefix('eval_')}" not in plan.metrics:
        hint = suggest_metrics(name, plan.metrics) or "; there is no evaluation"
        yield Problem("arguments.metric_for_best_model", f"{name!r} is not among the metrics of this run{hint}")
