"""What a run needs of the machine: packages, variables, disk space, memory. Checked before a process starts."""

import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from math import prod
from pathlib import Path

from embedstep.data.hub import local_sources
from embedstep.data.model_facts import floating_tensors
from embedstep.errors import CannotStartError, InvalidRequestError, Problem
from embedstep.output.folder import OutputFolder
from embedstep.planning.adapters import quantization
from embedstep.planning.plan import Plan
from embedstep.request.arguments.types import OPTIMIZER_PACKAGES
from embedstep.request.schema import TRACKING_RUN_ID, TRACKING_URI, TrainRequest
from embedstep.request.trackers import CALLBACKS, MLFLOW, NONE, TrackerKind, tracker_kind
from embedstep.runtime.cgroups import cgroup_memory
from embedstep.runtime.devices import ASKED_GPUS, visible_gpus
from embedstep.runtime.secrets import redact
from embedstep.runtime.text import format_bytes


def check_environment(request: TrainRequest, environ: Mapping[str, str]) -> None:
    """Check what a run needs of its environment, before any data is read.

    Args:
        request: the request.
        environ: variables of this process, including the tracking variables that an orchestrator sets for one step.

    Raises:
        CannotStartError: a package is not installed, a variable is not set, or fewer or more GPUs are visible than
            were asked for.
        InvalidRequestError: the environment's tracking address contains a password.
    """
    if find_spec("sentence_transformers") is None:
        raise CannotStartError("sentence_transformers is not installed; pip install 'embedstep[train]'")
    if request.tracking.kind != NONE:
        _require_tracker(tracker_kind(request.tracking.kind))
    if request.model.peft and find_spec("peft") is None:
        raise CannotStartError("model.peft: peft is not installed; pip install 'embedstep[peft]'")
    for field, name, packages in _needed_packages(request):
        if not any(map(find_spec, packages)):
            needed = f"{field}: {name} needs the package {packages[0]}"
            raise CannotStartError(f"{needed}, which is not installed")
    token = request.arguments.hub_token
    if token is not None and not environ.get(token.from_env):
        raise CannotStartError(f"arguments.hub_token: the environment variable {token.from_env} is not set")
    address = environ.get(TRACKING_URI, "")
    if request.tracking.kind == MLFLOW and not request.tracking.uri and redact(address, {}) != address:
        # result.json and the console show the address of the run, and with it the password.
        raise InvalidRequestError(
            [Problem(TRACKING_URI, "holds a password; give it by MLFLOW_TRACKING_USERNAME and _PASSWORD")]
        )
    if request.tracking.mode in ("attach", "nest") and not environ.get(TRACKING_RUN_ID):
        message = f"is {request.tracking.mode}, and {TRACKING_RUN_ID}, which names the open run, is not set"
        raise InvalidRequestError([Problem("tracking.mode", message)])
    asked, gpus = environ.get(ASKED_GPUS), visible_gpus(environ)
    if asked and asked != str(gpus):
        raise CannotStartError(
            f"{asked} GPUs were asked for ({ASKED_GPUS}), and {gpus} are visible; the node has none free, lacks its "
            "device plugin, or CUDA_VISIBLE_DEVICES names others"
        )


def _require_tracker(kind: TrackerKind) -> None:
    if not kind.package or find_spec(kind.package) is not None:
        return
    if kind.extra:
        raise CannotStartError(f"{kind.package} is not installed; pip install 'embedstep[{kind.extra}]'")
    raise CannotStartError(f"tracking.kind: {kind.name} needs the package {kind.package}, which is not installed")


def check_machine(request: TrainRequest, plan: Plan, folder: OutputFolder, *, resumes: bool) -> None:
    """Check that the machine has enough disk space and memory, before a process starts.

    Args:
        request: the request.
        plan: its plan.
        folder: the output folder.
        resumes: the checkpoints in the folder are kept, so their space is not needed again.

    Raises:
        CannotStartError: the model and its checkpoints do not fit on the disk, or the processes not into memory.
    """
    there = folder.checkpoints.rglob("*") if resumes else ()
    needed = disk_space_needed(request, plan) - sum(file.stat().st_size for file in there if file.is_file())
    free = shutil.disk_usage(folder.path).free
    if needed > free:
        what, remedy = "the model", ""
        if plan.checkpoints:
            what, remedy = "the model with its checkpoints", ", or write save_total_limit or save_strategy: no"
        raise CannotStartError(
            f"{folder.path} has {format_bytes(free)} free, and {what} needs about {format_bytes(needed)}; choose "
            f"another --output{remedy}"
        )
    _check_memory_limit(request, plan)
    _check_shared_memory(request, plan)


def _check_memory_limit(request: TrainRequest, plan: Plan) -> None:
    """Compare the least memory that the processes on this machine need with the limit of their cgroup.

    Raises:
        CannotStartError: the kernel would kill a process once everything is loaded.
    """
    memory = cgroup_memory()
    if not plan.on_cpu or memory is None or memory.limit is None:
        return
    here = plan.world_size // request.launch.nodes
    states = _STATES if request.arguments.optim.startswith("adam") else 2
    if request.model.peft:  # whose gradients are small
        states = 1
    needed = here * states * model_size(request, plan)
    if needed > memory.limit:
        processes = "1 process" if here == 1 else f"{here} processes"
        raise CannotStartError(
            f"the memory limit is {format_bytes(memory.limit)}, and {processes} with the model, its gradients and "
            f"what the optimizer keeps need {format_bytes(needed)} and more; raise the limit, or start fewer"
        )


def _check_shared_memory(request: TrainRequest, plan: Plan) -> None:
    """Compare the batches that data loader workers keep in shared memory with the space there.

    Raises:
        CannotStartError: a worker would be killed by SIGBUS, without a message.
    """
    arguments, memory = request.arguments, Path("/dev/shm")
    workers = arguments.dataloader_num_workers
    if not workers or not memory.is_dir():
        return
    rows = plan.global_batch_size // request.launch.nodes // arguments.gradient_accumulation_steps
    columns = max(len(item.loss_columns) for item in plan.datasets)
    needed = workers * (arguments.dataloader_prefetch_factor or _PREFETCHED) * rows * columns * _BYTES_OF_A_TEXT
    free = shutil.disk_usage(memory).free
    if needed > free:
        raise CannotStartError(
            f"{memory} has {free / 1e6:,.0f} MB free, and the batches that {workers} data loader workers keep ready "
            f"may take {needed / 1e6:,.0f} MB; give the container more (docker run --shm-size, or an emptyDir with "
            "medium: Memory), or write fewer dataloader_num_workers"
        )


def _needed_packages(request: TrainRequest) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the path of each field that needs a further package, its value, and the packages of which one will do."""
    for tracker in request.arguments.report_to or []:
        if packages := CALLBACKS.get(tracker):
            yield "arguments.report_to", tracker, packages
    if quantization(request.model):
        yield "model.model_kwargs", "quantization_config", ("bitsandbytes",)
    optimizer = request.arguments.optim
    if package := OPTIMIZER_PACKAGES[optimizer]:
        yield "arguments.optim", optimizer, (package,)


_FLOAT32 = 4
"""Bytes of a number in float32."""
_TABLE = 2
"""Dimensions of a table of word vectors: words, and numbers of each."""
_STATES = 4
"""Values per weight with AdamW: the weight, its gradient and two moments."""
_PREFETCHED = 2
"""Batches that each data loader worker keeps ready by default (torch's DataLoader)."""
_BYTES_OF_A_TEXT = 128 * 3 * 8
"""128 tokens: ids, types and mask as 64-bit integers."""


def model_size(request: TrainRequest, plan: Plan) -> int:
    """Return the bytes of the weights on disk; 0 for a model that is not there yet, such as a hub id."""
    sources = local_sources(request.model, plan.fetched_model)
    if request.model.static:  # of the model that it starts from, it has the table of word vectors
        tables = floating_tensors(file for source in sources for file in source.rglob("*.safetensors"))
        return max((prod(shape) * _FLOAT32 for _, _, shape in tables if len(shape) == _TABLE), default=0)
    return sum(file.stat().st_size for source in sources for file in source.rglob("*.safetensors"))


def disk_space_needed(request: TrainRequest, plan: Plan) -> int:
    """Estimate the most bytes that a run has on disk: all checkpoints while it trains, or the kept ones and the model.

    A checkpoint holds the weights and, unless `save_only_model`, AdamW's two moments for each. A new checkpoint is
    written before the oldest one is removed.
    """
    if request.model.peft:  # checkpoints have only the adapter
        return model_size(request, plan)
    limit = request.arguments.save_total_limit or len(plan.checkpoints)
    if request.arguments.load_best_model_at_end:
        limit = max(2, limit)  # the best one, and the last
    most, kept = (min(len(plan.checkpoints), count) for count in (limit + 1, limit))
    each = 1 if request.arguments.save_only_model else 3
    return model_size(request, plan) * max(each * most, each * kept + 1)
