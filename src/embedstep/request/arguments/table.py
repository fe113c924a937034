"""The training arguments: every one that SentenceTransformerTrainingArguments has or had, as one typed table.

A row gives name, type, support, default and description. The 120 arguments of sentence-transformers 3.0 with
transformers 4.37 (`support.NAMES_IN_3_0`) have that release's defaults; the others came afterwards.

The table is not read from the class, because importing the class takes seconds and needs torch, and requests are
checked without either. A test compares each row with the installed class and names every argument that a release adds,
removes or changes.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

from embedstep.request.arguments.support import (
    Contract,
    add_releases,
    contracts_of,
    environment,
    implemented,
    refused,
    translated,
    used,
)
from embedstep.request.arguments.types import (
    AcceleratorSettings,
    BatchSamplerName,
    Checkpoint,
    DebugOptions,
    FsdpOptions,
    HubStrategy,
    Interval,
    LogLevel,
    MappingOrFile,
    MappingOrJson,
    MetricInputs,
    MultiDatasetBatchSamplerName,
    Names,
    OptimizerName,
    PrecisionBackend,
    Prompts,
    Rates,
    Routes,
    SaveInterval,
    SchedulerName,
    Secret,
    TokenCount,
)
from embedstep.request.scalars import Boolean, CountOrShare, Integer, Number, Text

_COMPUTE_METRICS = "it feeds compute_metrics, which this trainer does not call; write an evaluator"
_LIGER = "its kernels are for language model heads and do nothing here; remove it"


class Group(BaseModel):
    """A topic of the table."""

    # Only `schema.Arguments` is validated; a schema for each topic would be built for nothing.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)


class Output(Group):
    """Where the step writes its files."""

    output_dir: Text | None = used(None, "Output folder of the step; `embedstep run --output` overrides it.")


class Duration(Group):
    """Length of the training, and its learning rate schedule."""

    num_train_epochs: Number = used(3.0, "Number of epochs, fractions allowed.")
    max_steps: Integer = translated(
        -1, "Total optimizer steps; a positive value overrides num_train_epochs.", to="max_steps"
    )
    lr_scheduler_type: SchedulerName = used("linear", "Learning rate schedule name.")
    lr_scheduler_kwargs: MappingOrJson | None = used({}, "Extra keyword arguments of the scheduler factory.")
    warmup_ratio: Number | None = translated(0.0, "Warmup as a share of all steps, from 0 to 1.", to="warmup_steps")
    warmup_steps: CountOrShare = used(0, "Warmup steps, or a share below 1; overrides warmup_ratio.")


class Batch(Group):
    """Batch sizes."""

    per_device_train_batch_size: Integer = used(8, "Training batch size per device.")
    per_device_eval_batch_size: Integer = used(8, "Evaluation batch size per device.")
    gradient_accumulation_steps: Integer = used(1, "Micro-batches per optimizer step.")
    auto_find_batch_size: Boolean = implemented(
        False, "Try smaller batches until the first step fits into memory.", by="the trainer"
    )
    average_tokens_across_devices: Boolean = refused(
        True,
        "Scale the loss by tokens over all devices.",
        instead="the losses average over rows, not tokens; remove it",
    )


class Data(Group):
    """How rows reach the model."""

    seed: Integer = used(42, "Random seed for Python, NumPy, torch and the data order.")
    data_seed: Integer | None = implemented(None, "Separate seed for the data order.", by="the samplers")
    dataloader_drop_last: Boolean = used(False, "Drop the last incomplete batch.")
    dataloader_num_workers: Integer = used(0, "Worker processes of the dataloader.")
    remove_unused_columns: Boolean = translated(True, "Drop dataset columns that have no role.", to="")
    label_names: list[Text] | None = refused(
        None,
        "Input keys that are labels.",
        instead="labels are chosen by role; name the column as data.*.columns.label",
    )
    ignore_data_skip: Boolean = used(False, "When resuming, do not skip batches already seen.")
    length_column_name: Text = implemented(
        "length",
        "Column with the length of each row, for group_by_length; without one, bytes are counted.",
        by="the samplers",
    )
    dataloader_pin_memory: Boolean = used(True, "Copy batches to pinned memory.")
    dataloader_persistent_workers: Boolean = used(False, "Keep loader workers alive between epochs.")
    full_determinism: Boolean = used(False, "Use deterministic algorithms.")
    batch_sampler: BatchSamplerName = implemented(
        "batch_sampler",
        "How rows form batches.",
        by="embedstep's samplers; the default one is that of sentence-transformers",
    )
    multi_dataset_batch_sampler: MultiDatasetBatchSamplerName = used(
        "proportional", "How batches are drawn from several datasets."
    )
    accelerator_config: AcceleratorSettings | None = used(
        None,
        "Settings of accelerate: dispatch_batches, even_batches, non_blocking, split_batches, use_seedable_sampler.",
    )
    dataloader_prefetch_factor: Integer | None = used(None, "Batches prefetched per worker.")
    dataloader_multiprocessing_context: Literal["fork", "forkserver", "spawn"] | None = implemented(
        None, "Start method of loader workers.", by="the trainer"
    )
    dataloader_in_order: Boolean = implemented(True, "Yield batches in order.", by="the trainer")
    train_sampling_strategy: Literal["random", "sequential", "group_by_length"] = implemented(
        "random", "Order of the rows: random, sequential or by similar length.", by="the samplers"
    )
    prompts: Prompts | None = used(None, "Prompt for each column, by role or source name, or for each dataset.")
    router_mapping: Routes = used({}, "Router route for each column, by role or source name.")


class Optimizer(Group):
    """How the weights are updated."""

    learning_rate: Number = used(5e-05, "Peak learning rate.")
    weight_decay: Number = used(0.0, "Weight decay, except on biases and norm weights.")
    adam_beta1: Number = used(0.9, "Adam beta1.")
    adam_beta2: Number = used(0.999, "Adam beta2.")
    adam_epsilon: Number = used(1e-08, "Adam epsilon.")
    max_grad_norm: Number = used(1.0, "Gradient clipping norm; 0 disables.")
    label_smoothing_factor: Number = implemented(
        0.0, "Label smoothing.", by="losses that end in a cross-entropy over classes"
    )
    optim: OptimizerName = translated("adamw_torch", "Optimizer name.", to="optim")
    optim_args: Text | None = used(None, "Extra optimizer options `a=1,b=2`.")
    gradient_checkpointing: Boolean = translated(
        False, "Recompute activations to save memory.", to="activation_checkpointing"
    )
    gradient_checkpointing_kwargs: MappingOrJson | None = translated(
        None, "Options of torch checkpointing.", to="activation_checkpointing_kwargs"
    )
    neftune_noise_alpha: Number | None = implemented(
        None, "Noise added to the token embeddings during training (NEFTune).", by="the trainer"
    )
    optim_target_modules: Names | None = refused(
        None,
        "Module names for GaLore/APOLLO optimizers.",
        instead="it belongs to the GaLore and APOLLO optimizers, which are not part of the train extra; remove it",
    )
    use_liger_kernel: Boolean = refused(False, "Liger Triton kernels.", instead=_LIGER)
    liger_kernel_config: MappingOrJson | None = refused(None, "Options for use_liger_kernel.", instead=_LIGER)
    use_cache: Boolean = used(False, "Sets `use_cache` in the model's config.")
    learning_rate_mapping: Rates = used({}, "Learning rates for parameters whose name matches a regular expression.")
    activation_checkpointing: Boolean | None = used(
        None, "Recompute activations to save memory; newer name of gradient_checkpointing."
    )
    activation_checkpointing_kwargs: MappingOrJson | None = used(None, "Options of activation_checkpointing.")


class Precision(Group):
    """Floating-point precision."""

    bf16: Boolean = environment(False, "bfloat16 mixed precision.", by="a GPU that supports it, or the CPU")
    fp16: Boolean = environment(False, "float16 mixed precision.", by="a GPU")
    bf16_full_eval: Boolean = implemented(
        False,
        "Evaluate with the model cast to bfloat16.",
        by="the worker, for every evaluation; the weights are restored",
    )
    fp16_full_eval: Boolean = implemented(
        False,
        "Evaluate with the model cast to float16.",
        by="the worker, for every evaluation; the weights are restored",
    )
    tf32: Boolean | None = environment(None, "Allow TF32 matrix multiplication.", by="an Ampere GPU or newer")


class Hardware(Group):
    """Which device is used."""

    use_cpu: Boolean = used(False, "Train on the CPU even if an accelerator exists.")
    torch_empty_cache_steps: Integer | None = used(None, "Clear the device cache every N steps.")


class Distributed(Group):
    """Training in several processes."""

    local_rank: Integer = environment(-1, "Rank set by the former launcher.", by="torchrun")
    ddp_backend: Text | None = environment(None, "torch.distributed backend.", by="several processes")
    fsdp: FsdpOptions = translated([], "Fully sharded data parallel options.", to="fsdp, fsdp_config")
    fsdp_config: MappingOrFile | None = used(None, "FSDP settings, as a mapping or its JSON text.")
    deepspeed: MappingOrFile | None = refused(
        None,
        "DeepSpeed configuration file or mapping.",
        instead="DeepSpeed is not part of the train extra; write fsdp to shard a model that is too large for one GPU",
    )
    ddp_find_unused_parameters: Boolean | None = used(None, "DDP find_unused_parameters.")
    ddp_bucket_cap_mb: Integer | None = used(None, "DDP bucket size.")
    ddp_broadcast_buffers: Boolean | None = translated(None, "DDP broadcast_buffers; the trainer uses false.", to="")
    ddp_timeout: Integer = used(1800, "Timeout of collective operations in seconds.")
    eval_use_gather_object: Boolean = used(False, "Gather Python objects in evaluation.")
    parallelism_config: MappingOrJson | None = refused(
        None,
        "ParallelismConfig object of accelerate.",
        instead="it is a Python object, which a request cannot hold; remove it",
    )
    ddp_static_graph: Boolean | None = used(None, "DDP static_graph.")


class Compile(Group):
    """Compilation with torch.compile."""

    torch_compile: Boolean = used(False, "Compile the model.")
    torch_compile_backend: Text | None = used(None, "Backend; implies torch_compile.")
    torch_compile_mode: Text | None = used(None, "Mode; implies torch_compile.")


class Evaluation(Group):
    """When and how the model is evaluated."""

    do_train: Boolean = implemented(False, "Train; an explicit false evaluates only.", by="the worker")
    do_eval: Boolean = implemented(
        False,
        "Evaluate; implied by any evaluation strategy except `no`.",
        by="the worker, with an evaluation after the training",
    )
    do_predict: Boolean = implemented(
        False,
        "Evaluate on a test set.",
        by="the worker, with the loss on data.test after the training",
    )
    prediction_loss_only: Boolean = used(False, "Return only the loss from evaluation.")
    eval_accumulation_steps: Integer | None = used(
        None, "Evaluation batches after which gathered tensors move to the CPU."
    )
    eval_delay: CountOrShare | None = translated(
        0, "Epochs or steps to wait before the first evaluation.", to="eval_delay"
    )
    eval_steps: CountOrShare | None = used(
        None, "Steps between evaluations, or a share of all steps below 1; the default is logging_steps."
    )
    eval_strategy: Interval = used("no", "When to evaluate: `no`, `steps` or `epoch`.")
    eval_on_start: Boolean = used(False, "Evaluate before the first step.")
    eval_do_concat_batches: Boolean = refused(
        True,
        "Concatenate the results of all batches.",
        instead="the trainer keeps no predictions; remove it",
    )
    include_for_metrics: MetricInputs = refused(
        [], "Extra data for compute_metrics: inputs, loss.", instead=_COMPUTE_METRICS
    )
    batch_eval_metrics: Boolean = refused(False, "Compute metrics batch by batch.", instead=_COMPUTE_METRICS)


class Saving(Group):
    """Checkpoints."""

    save_strategy: SaveInterval = used("steps", "When to write checkpoints.")
    save_steps: CountOrShare = used(500, "Steps between checkpoints, or a share of all steps below 1.")
    save_total_limit: Integer | None = used(None, "Keep at most this many checkpoints.")
    save_on_each_node: Boolean = implemented(
        False,
        "Write checkpoints on every node.",
        by="the trainer; each node keeps an output folder on its own disk and receives what the first node prepares",
    )
    save_only_model: Boolean = used(False, "Leave optimizer, scheduler and RNG state out of checkpoints.")
    load_best_model_at_end: Boolean = used(False, "Load the best checkpoint after the training.")
    metric_for_best_model: Text | None = used(None, "Metric used to choose the best checkpoint.")
    greater_is_better: Boolean | None = translated(None, "Whether a larger metric is better.", to="greater_is_better")
    resume_from_checkpoint: Checkpoint = implemented(None, "Checkpoint to resume from.", by="the worker")
    enable_jit_checkpoint: Boolean = refused(
        False,
        "Save a checkpoint on SIGTERM.",
        instead="the trainer hangs if only one of several processes gets the signal; remove it",
    )
    restore_callback_states_from_checkpoint: Boolean = refused(
        False,
        "Restore the state of callbacks on resume.",
        instead="the callbacks of a step keep no state of their own; remove it",
    )


class Logging(Group):
    """What is logged during the training."""

    log_level: LogLevel = used("passive", "Log level of the libraries on the main process.")
    log_level_replica: LogLevel = used("warning", "Log level of the libraries on the other processes.")
    log_on_each_node: Boolean = used(True, "Use log_level on the main process of each node, not only of the first.")
    logging_strategy: Interval = used("steps", "When training metrics are logged.")
    logging_first_step: Boolean = used(False, "Also log the first step.")
    logging_steps: CountOrShare = used(500, "Steps between logs, or a share of all steps below 1.")
    logging_nan_inf_filter: Boolean = used(True, "Leave nan and inf losses out of the log.")
    debug: DebugOptions = used([], "Debug features: underflow_overflow, tpu_metrics_debug.")
    disable_tqdm: Boolean | None = used(None, "Hide the trainer's own progress bars.")
    skip_memory_metrics: Boolean = used(True, "Leave memory use out of the metrics.")
    include_num_input_tokens_seen: TokenCount = implemented("no", "Count input tokens.", by="the trainer")


class Tracking(Group):
    """Trackers besides the section `tracking`."""

    run_name: Text | None = translated(None, "Name of the run in trackers.", to="tracking.run_name")
    report_to: Names | None = translated(None, "Experiment trackers.", to="tracking, report_to")
    project: Text = environment("huggingface", "Trackio project.", by="the package trackio")
    trackio_space_id: Text | None = environment(None, "Trackio Space for live logging.", by="the package trackio")
    trackio_bucket_id: Text | None = environment(None, "Trackio bucket.", by="the package trackio")
    trackio_static_space_id: Text | Literal[False] | None = environment(
        None, "Static Trackio Space; false for none.", by="the package trackio"
    )


class Hub(Group):
    """Uploads to the Hugging Face hub."""

    push_to_hub: Boolean = used(False, "Upload to the Hub on each save.")
    hub_model_id: Text | None = used(None, "Repository name.")
    hub_strategy: HubStrategy = used("every_save", "What is pushed, and when.")
    hub_token: Secret | None = environment(
        None, "Access token, given as the name of an environment variable.", by="the variable HF_TOKEN"
    )
    hub_private_repo: Boolean | None = translated(False, "Make a new repository private.", to="hub_private_repo")
    hub_always_push: Boolean = used(False, "Push even while the previous push is running.")
    hub_revision: Text | None = used(None, "Branch or tag to push to.")


class Legacy(Group):
    """Names of sentence-transformers 3.0 that the libraries have removed."""

    overwrite_output_dir: Boolean = implemented(
        False, "Allow a non-empty output folder.", by="the output folder, like --overwrite"
    )
    evaluation_strategy: Interval = translated("no", "Older name of eval_strategy.", to="eval_strategy")
    per_gpu_train_batch_size: Integer | None = translated(
        None, "Older name of per_device_train_batch_size; 0 means not set.", to="per_device_train_batch_size"
    )
    per_gpu_eval_batch_size: Integer | None = translated(
        None, "Older name of per_device_eval_batch_size; 0 means not set.", to="per_device_eval_batch_size"
    )
    logging_dir: Text | None = translated(None, "Folder for TensorBoard event files.", to="TENSORBOARD_LOGGING_DIR")
    save_safetensors: Boolean = implemented(
        True, "Write safetensors instead of pytorch_model.bin.", by="the worker; false writes pytorch_model.bin"
    )
    no_cuda: Boolean = translated(False, "Older name of use_cpu.", to="use_cpu")
    use_mps_device: Boolean = environment(False, "Train on Apple MPS.", by="a machine with MPS")
    jit_mode_eval: Boolean = refused(
        False,
        "Use torch.jit.trace for evaluation.",
        instead="the libraries no longer trace models for evaluation; write torch_compile",
    )
    use_ipex: Boolean = refused(
        False,
        "Use Intel extension for PyTorch.",
        instead="the libraries no longer use this extension; bf16 on a CPU works without it",
    )
    fp16_opt_level: Text = refused("O1", "Apex optimization level.", instead="Apex was removed; write fp16 or bf16")
    half_precision_backend: PrecisionBackend = translated("auto", "Backend of mixed precision.", to="")
    tpu_num_cores: Integer | None = refused(
        None, "TPU cores for the launcher.", instead="the TPU launcher sets it, not the training step; remove it"
    )
    tpu_metrics_debug: Boolean = translated(False, "Print TPU metrics.", to="debug")
    past_index: Integer = refused(
        -1,
        "Index of the cached hidden state in the model's outputs.",
        instead="an embedding model keeps no past; remove it",
    )
    fsdp_min_num_params: Integer = translated(
        0, "Parameters from which FSDP wraps a layer.", to="fsdp_config.min_num_params"
    )
    fsdp_transformer_layer_cls_to_wrap: Text | None = translated(
        None, "Class of the layers that FSDP wraps.", to="fsdp_config.transformer_layer_cls_to_wrap"
    )
    adafactor: Boolean = translated(False, "Use the optimizer Adafactor.", to="optim: adafactor")
    group_by_length: Boolean = implemented(False, "Form batches of rows of similar length.", by="the samplers")
    use_legacy_prediction_loop: Boolean = refused(
        False, "Use the old evaluation loop.", instead="the old loop was removed; remove the argument"
    )
    include_inputs_for_metrics: Boolean = refused(
        False, "Give model inputs to compute_metrics.", instead=_COMPUTE_METRICS
    )
    fp16_backend: PrecisionBackend = translated("auto", "Older name of half_precision_backend.", to="")
    push_to_hub_model_id: Text | None = translated(None, "Repository name without its owner.", to="hub_model_id")
    push_to_hub_organization: Text | None = translated(None, "Owner of the repository.", to="hub_model_id")
    push_to_hub_token: Secret | None = environment(None, "Access token.", by="the variable HF_TOKEN")
    mp_parameters: Text = refused(
        "", "SageMaker launcher string.", instead="the SageMaker launcher sets it, not the training step; remove it"
    )
    torchdynamo: Text | None = translated(None, "Older name of torch_compile_backend.", to="torch_compile_backend")
    ray_scope: Text | None = refused(
        "last",
        "Scope of the best trial of Ray Tune.",
        instead="it belongs to a hyperparameter search, which a step does not run; remove it",
    )
    dispatch_batches: Boolean | None = translated(
        None,
        "Read batches in the main process only, and send them to the others.",
        to="accelerator_config.dispatch_batches",
    )
    split_batches: Boolean | None = translated(
        False, "Split each batch over the processes.", to="accelerator_config.split_batches"
    )
    include_tokens_per_second: Boolean = implemented(False, "Log training tokens per second.", by="the trainer")


class ArgumentTable(
    Legacy, Hub, Tracking, Logging, Saving, Evaluation, Compile, Distributed, Hardware, Precision, Optimizer, Data,
    Batch, Duration, Output,
):  # fmt: skip
    """All rows, as fields by their names in SentenceTransformerTrainingArguments; `schema.Arguments` reads them."""

    # Pydantic puts the fields of the last base first.
    _is_dump: bool = PrivateAttr(default=False)

    model_config = ConfigDict(json_schema_extra=add_releases)

    @property
    def is_dump(self) -> bool:
        """Whether a library wrote them, which writes every default too."""
        return self._is_dump


# The bases are in reverse, see above.
GROUPS: tuple[type[BaseModel], ...] = tuple(reversed(ArgumentTable.__bases__))

CONTRACT: Mapping[str, Contract] = {row.name: row for row in contracts_of(GROUPS, Legacy)}
"""Each argument's row, by name."""
