"""The training arguments: every one that SentenceTransformerTrainingArguments has or had, as one typed table.

A row is read from left to right: name, type, what becomes of the argument (its fate), default, description. The 120 of
sentence-transformers 3.0 with transformers 4.37 have that release's defaults; those marked `LATER` came afterwards.

It is written down here rather than read from the class, because importing the class takes seconds and torch, and a
request is checked before either is there. A test compares each row with the installed class, so a release that adds,
drops or changes an argument is noticed by name.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, PrivateAttr, model_validator

from embedstep.request.arguments.fates import (
    LATER,
    Contract,
    contracts_of,
    environment,
    implemented,
    refused,
    translated,
    used,
)
from embedstep.request.arguments.reading import written_arguments
from embedstep.request.arguments.today import rename_arguments
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
    MultiDatasetBatchSamplerName,
    Names,
    OptimizerName,
    PrecisionBackend,
    Prompts,
    Rates,
    Routes,
    SamplingStrategy,
    SaveInterval,
    SchedulerName,
    Secret,
    StartMethod,
    TokenCount,
)
from embedstep.request.scalars import CountOrShare, Flag, Integer, Number, Text


class Group(BaseModel):
    """A topic of the table."""

    # A schema for each topic would be made and never used: that of all of them is made once, when it is.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)


class Output(Group):
    """Where the step writes."""

    output_dir: Text | None = used(None, "Output folder of the step; `embedstep run --output` wins over it.")


class Schedule(Group):
    """How long, and at which learning rate."""

    num_train_epochs: Number = used(3.0, "Number of epochs, fractions allowed.")
    max_steps: Integer = translated(
        -1, "Total optimizer steps; a positive value overrides epochs; -1 = use epochs.", to="max_steps"
    )
    lr_scheduler_type: SchedulerName = used("linear", "Learning rate schedule name.")
    lr_scheduler_kwargs: MappingOrJson | None = used({}, "Extra keyword arguments of the scheduler factory.")
    warmup_ratio: Number | None = translated(0.0, "Warmup as a share of all steps, 0..1.", to="warmup_steps")
    warmup_steps: CountOrShare = used(0, "Number of warmup steps; overrides warmup_ratio.")


class Batch(Group):
    """How many rows in a batch."""

    per_device_train_batch_size: Integer = used(8, "Training batch size per device.")
    per_device_eval_batch_size: Integer = used(8, "Evaluation batch size per device.")
    gradient_accumulation_steps: Integer = used(1, "Micro-batches per optimizer step.")
    auto_find_batch_size: Flag = implemented(
        False, "Try smaller batches until the first step fits into memory.", by="the trainer"
    )
    average_tokens_across_devices: Flag = refused(
        True,
        "Scale the loss by tokens over all devices.",
        instead="the losses average over rows, not tokens; remove it",
        since=LATER,
    )


class Data(Group):
    """How rows come to the model."""

    seed: Integer = used(42, "Random seed for python/numpy/torch and the data order.")
    data_seed: Integer | None = implemented(None, "Seed of the data sampler only.", by="the samplers")
    dataloader_drop_last: Flag = used(False, "Drop the last incomplete batch.")
    dataloader_num_workers: Integer = used(0, "Worker processes of the dataloader.")
    remove_unused_columns: Flag = translated(True, "Drop dataset columns that no role names.", to="")
    label_names: list[Text] | None = refused(
        None,
        "Input keys that are labels.",
        instead="labels are chosen by role; name the column as data.*.columns.label",
    )
    ignore_data_skip: Flag = used(False, "When resuming, do not skip batches already seen.")
    length_column_name: Text = implemented(
        "length",
        "Column with the length of each row, for group_by_length; where none is named, tokens are counted.",
        by="the samplers",
    )
    dataloader_pin_memory: Flag = used(True, "Pin host memory in the loader.")
    dataloader_persistent_workers: Flag = used(False, "Keep loader workers alive.")
    full_determinism: Flag = used(False, "Deterministic algorithms and seed.")
    batch_sampler: BatchSamplerName = implemented(
        "batch_sampler",
        "How rows form batches: batch_sampler/no_duplicates/group_by_label.",
        by="the samplers; the default is sentence-transformers' own",
    )
    multi_dataset_batch_sampler: MultiDatasetBatchSamplerName = used(
        "proportional", "How batches are drawn from several datasets."
    )
    accelerator_config: AcceleratorSettings | None = used(
        None,
        "Settings of accelerate: dispatch_batches, even_batches, non_blocking, split_batches, use_seedable_sampler.",
        since=LATER,
    )
    dataloader_prefetch_factor: Integer | None = used(None, "Batches prefetched per worker.", since=LATER)
    dataloader_multiprocessing_context: StartMethod | None = implemented(
        None, "Start method of loader workers.", by="the trainer", since=LATER
    )
    dataloader_in_order: Flag = implemented(True, "Yield batches in order.", by="the trainer", since=LATER)
    train_sampling_strategy: SamplingStrategy = implemented(
        "random", "How rows follow each other: random, sequential or group_by_length.", by="the samplers", since=LATER
    )
    prompts: Prompts | None = used(None, "Prompt text per column or dataset.", since=LATER)
    router_mapping: Routes = used({}, "Column -> Router route.", since=LATER)


class Optimizer(Group):
    """How the weights change."""

    learning_rate: Number = used(5e-05, "Initial (peak) learning rate.")
    weight_decay: Number = used(0.0, "Weight decay for all parameters but biases and norm weights.")
    adam_beta1: Number = used(0.9, "Adam beta1.")
    adam_beta2: Number = used(0.999, "Adam beta2.")
    adam_epsilon: Number = used(1e-08, "Adam epsilon.")
    max_grad_norm: Number = used(1.0, "Gradient clipping norm; 0 disables.")
    label_smoothing_factor: Number = implemented(
        0.0, "Label smoothing of a cross-entropy loss.", by="the loss: one that ends in a cross-entropy over classes"
    )
    optim: OptimizerName = translated("adamw_torch", "Optimizer name.", to="optim")
    optim_args: Text | None = used(None, "Extra optimizer options `a=1,b=2`.")
    gradient_checkpointing: Flag = translated(
        False, "Recompute activations to save memory.", to="activation_checkpointing"
    )
    gradient_checkpointing_kwargs: MappingOrJson | None = translated(
        None, "Options of torch checkpointing.", to="activation_checkpointing_kwargs"
    )
    neftune_noise_alpha: Number | None = implemented(None, "Noise on the embeddings while training.", by="the trainer")
    optim_target_modules: Names | None = refused(
        None,
        "Module names for GaLore/APOLLO optimizers.",
        instead="it belongs to the GaLore and APOLLO optimizers, which are not part of the train extra; remove it",
        since=LATER,
    )
    use_liger_kernel: Flag = refused(
        False,
        "Liger Triton kernels.",
        instead="its kernels are for language model heads and do nothing here; remove it",
        since=LATER,
    )
    liger_kernel_config: MappingOrJson | None = refused(
        None,
        "Options for use_liger_kernel.",
        instead="its kernels are for language model heads and do nothing here; remove it",
        since=LATER,
    )
    use_cache: Flag = used(False, "Value written to model.config.use_cache.", since=LATER)
    learning_rate_mapping: Rates = used({}, "Regular expression -> learning rate.", since=LATER)
    activation_checkpointing: Flag | None = used(
        None, "Recompute activations to save memory; newer name of gradient_checkpointing.", since=LATER
    )
    activation_checkpointing_kwargs: MappingOrJson | None = used(
        None, "Options of activation_checkpointing.", since=LATER
    )


class Precision(Group):
    """In which numbers."""

    bf16: Flag = environment(False, "bfloat16 mixed precision.", by="a GPU that has it, or the CPU")
    fp16: Flag = environment(False, "float16 mixed precision.", by="a GPU")
    bf16_full_eval: Flag = implemented(
        False, "Evaluate with the model cast to bfloat16.", by="the worker: every evaluation, and the weights come back"
    )
    fp16_full_eval: Flag = implemented(
        False, "Evaluate with the model cast to float16.", by="the worker: every evaluation, and the weights come back"
    )
    tf32: Flag | None = environment(None, "Allow TF32 matmul on Ampere and newer.", by="an Ampere GPU or later")


class Hardware(Group):
    """On which device."""

    use_cpu: Flag = used(False, "Train on the CPU even if an accelerator exists.")
    torch_empty_cache_steps: Integer | None = used(None, "Clear the device cache every N steps.", since=LATER)


class Distributed(Group):
    """Several processes."""

    local_rank: Integer = environment(-1, "Rank given by the old launcher.", by="torchrun")
    ddp_backend: Text | None = environment(None, "torch.distributed backend.", by="the launch: several processes")
    fsdp: FsdpOptions = translated([], "Fully sharded data parallel options.", to="fsdp, fsdp_config")
    fsdp_config: MappingOrFile | None = used(None, "FSDP settings: a mapping or JSON text of one.")
    deepspeed: MappingOrFile | None = refused(
        None,
        "DeepSpeed configuration file or mapping.",
        instead="DeepSpeed is not part of the train extra; write fsdp to shard a model that is too large for one GPU",
    )
    ddp_find_unused_parameters: Flag | None = used(None, "DDP find_unused_parameters.")
    ddp_bucket_cap_mb: Integer | None = used(None, "DDP bucket size.")
    ddp_broadcast_buffers: Flag | None = translated(None, "DDP broadcast_buffers; the trainer uses false.", to="")
    ddp_timeout: Integer = used(1800, "Seconds before collective operations time out, on a CPU too.")
    eval_use_gather_object: Flag = used(False, "Gather Python objects in evaluation.", since=LATER)
    parallelism_config: MappingOrJson | None = refused(
        None,
        "accelerate ParallelismConfig object.",
        instead="it is a Python object, which a document cannot hold; remove it",
        since=LATER,
    )
    ddp_static_graph: Flag | None = used(None, "DDP static_graph.", since=LATER)


class Compile(Group):
    """torch.compile."""

    torch_compile: Flag = used(False, "Compile the model.")
    torch_compile_backend: Text | None = used(None, "Compile backend; implies torch_compile.")
    torch_compile_mode: Text | None = used(None, "Compile mode; implies torch_compile.")


class Evaluation(Group):
    """When to measure."""

    do_train: Flag = implemented(
        False, "Whether the step should train at all.", by="the worker: an explicit false evaluates only"
    )
    do_eval: Flag = implemented(
        False,
        "Whether to evaluate; switched on automatically when the evaluation strategy is not `no`.",
        by="the worker: an evaluation after the training",
    )
    do_predict: Flag = implemented(
        False,
        "Whether to run prediction on a held-out test set.",
        by="the worker: the loss on data.test after the training",
    )
    prediction_loss_only: Flag = used(False, "Return only the loss from evaluation.")
    eval_accumulation_steps: Integer | None = used(
        None, "Number of evaluation batches after which gathered tensors move to CPU."
    )
    eval_delay: CountOrShare | None = translated(
        0, "Epochs or steps to wait before the first evaluation.", to="eval_delay"
    )
    eval_steps: CountOrShare | None = used(None, "Steps between evaluations; <1 = share; default = logging_steps.")
    eval_strategy: Interval = used("no", "When to evaluate: `no`, `steps` or `epoch`.", since=LATER)
    eval_on_start: Flag = used(False, "Evaluate before the first step.", since=LATER)
    eval_do_concat_batches: Flag = refused(
        True, "Concatenate per-batch results.", instead="the trainer keeps no predictions; remove it", since=LATER
    )
    include_for_metrics: list[Text] = refused(
        [],
        "Extra data for compute_metrics: inputs, loss.",
        instead="it feeds compute_metrics, which this trainer does not call; write an evaluator",
        since=LATER,
    )
    batch_eval_metrics: Flag = refused(
        False,
        "Compute metrics batch by batch.",
        instead="it feeds compute_metrics, which this trainer does not call; write an evaluator",
        since=LATER,
    )


class Saving(Group):
    """Checkpoints."""

    save_strategy: SaveInterval = used("steps", "When to write checkpoints: no/steps/epoch.")
    save_steps: CountOrShare = used(500, "Steps between checkpoints; <1 = share.")
    save_total_limit: Integer | None = used(None, "Keep at most this many checkpoints.")
    save_on_each_node: Flag = implemented(
        False,
        "Write checkpoints on every node.",
        by="the trainer: each node has an output folder on a disk of its own, and is handed what the first prepares",
    )
    save_only_model: Flag = used(False, "Leave optimizer, scheduler and RNG state out of checkpoints.")
    load_best_model_at_end: Flag = used(False, "Reload the best checkpoint after training.")
    metric_for_best_model: Text | None = used(None, "Metric used to choose the best checkpoint.")
    greater_is_better: Flag | None = translated(None, "Whether a larger metric is better.", to="greater_is_better")
    resume_from_checkpoint: Checkpoint = implemented(None, "Checkpoint to resume from.", by="the worker")
    enable_jit_checkpoint: Flag = refused(
        False,
        "Save a checkpoint on SIGTERM.",
        instead="the trainer hangs on it when only one of several processes is signalled; remove it",
        since=LATER,
    )
    restore_callback_states_from_checkpoint: Flag = refused(
        False,
        "Restore callback state on resume.",
        instead="the callbacks of a step keep no state of their own; remove it",
        since=LATER,
    )


class Logging(Group):
    """What is told while it trains."""

    log_level: LogLevel = used("passive", "Library log level on the main process.")
    log_level_replica: LogLevel = used("warning", "Library log level on replicas.")
    log_on_each_node: Flag = used(True, "Whether each node logs at log_level or only the first.")
    logging_strategy: Interval = used("steps", "When training metrics are logged: no/steps/epoch.")
    logging_first_step: Flag = used(False, "Also log step 1.")
    logging_steps: CountOrShare = used(500, "Steps between logs; <1 = share of all steps.")
    logging_nan_inf_filter: Flag = used(True, "Hide nan/inf losses from the log.")
    debug: DebugOptions = used([], "Debug features: underflow_overflow, tpu_metrics_debug.")
    disable_tqdm: Flag | None = used(None, "Hide the trainer's own progress bars.")
    skip_memory_metrics: Flag = used(True, "Leave memory numbers out of the metrics.")
    include_num_input_tokens_seen: TokenCount = implemented(
        "no", "Count input tokens: no, all or non_padding.", by="the trainer"
    )


class Tracking(Group):
    """Where a run is recorded besides `tracking`."""

    run_name: Text | None = translated(None, "Name of the run in trackers.", to="tracking.run_name")
    report_to: Names | None = translated(None, "Experiment trackers.", to="tracking, report_to")
    project: Text = environment("huggingface", "Trackio project.", by="the package trackio", since=LATER)
    trackio_space_id: Text | None = environment(
        None, "Trackio Space for live logging.", by="the package trackio", since=LATER
    )
    trackio_bucket_id: Text | None = environment(None, "Trackio bucket.", by="the package trackio", since=LATER)
    trackio_static_space_id: Text | Literal[False] | None = environment(
        None, "Static Trackio Space; false for none.", by="the package trackio", since=LATER
    )


class Hub(Group):
    """Uploads to the Hugging Face hub."""

    push_to_hub: Flag = used(False, "Upload to the Hub on each save.")
    hub_model_id: Text | None = used(None, "Repository name.")
    hub_strategy: HubStrategy = used("every_save", "What is pushed when: end/every_save/checkpoint/all_checkpoints.")
    hub_token: Secret | None = environment(
        None, "Access token, by the name of its environment variable.", by="HF_TOKEN"
    )
    hub_private_repo: Flag | None = translated(False, "Create the repository as private.", to="hub_private_repo")
    hub_always_push: Flag = used(False, "Push even if the previous push still runs.")
    hub_revision: Text | None = used(None, "Branch or tag to push to.", since=LATER)


class Legacy(Group):
    """Names of sentence-transformers 3.0 that are gone from the libraries."""

    overwrite_output_dir: Flag = implemented(
        False, "Permission to write into a non-empty output directory.", by="the output folder: --overwrite"
    )
    evaluation_strategy: Interval = translated("no", "Older name of eval_strategy.", to="eval_strategy")
    per_gpu_train_batch_size: Integer | None = translated(
        None, "Older name of per_device_train_batch_size; 0 is not given.", to="per_device_train_batch_size"
    )
    per_gpu_eval_batch_size: Integer | None = translated(
        None, "Older name of per_device_eval_batch_size; 0 is not given.", to="per_device_eval_batch_size"
    )
    logging_dir: Text | None = translated(None, "Folder for TensorBoard event files.", to="TENSORBOARD_LOGGING_DIR")
    save_safetensors: Flag = implemented(
        True, "Write safetensors instead of pytorch_model.bin.", by="the worker: false writes pytorch_model.bin"
    )
    no_cuda: Flag = translated(False, "Older name of use_cpu.", to="use_cpu")
    use_mps_device: Flag = environment(False, "Ask for Apple MPS.", by="a machine with MPS")
    jit_mode_eval: Flag = refused(
        False,
        "Use torch.jit.trace for evaluation.",
        instead="the libraries no longer trace models for evaluation; write torch_compile",
    )
    use_ipex: Flag = refused(
        False,
        "Use Intel extension for PyTorch.",
        instead="the libraries no longer use this extension; bf16 on a CPU works without it",
    )
    fp16_opt_level: Text = refused("O1", "Apex optimisation level.", instead="Apex is gone; write fp16 or bf16")
    half_precision_backend: PrecisionBackend = translated(
        "auto", "Backend of mixed precision: auto/cuda_amp/cpu_amp/apex.", to=""
    )
    tpu_num_cores: Integer | None = refused(
        None, "TPU cores for the launcher.", instead="the TPU launcher sets it, not the training step; remove it"
    )
    tpu_metrics_debug: Flag = translated(False, "Print TPU metrics.", to="debug")
    past_index: Integer = refused(
        -1, "Index of the cached hidden state in the outputs.", instead="an embedding model keeps no past; remove it"
    )
    fsdp_min_num_params: Integer = translated(0, "Size from which FSDP wraps a layer.", to="fsdp_config.min_num_params")
    fsdp_transformer_layer_cls_to_wrap: Text | None = translated(
        None, "Layer class that FSDP wraps.", to="fsdp_config.transformer_layer_cls_to_wrap"
    )
    adafactor: Flag = translated(False, "Use the optimizer Adafactor.", to="optim: adafactor")
    group_by_length: Flag = implemented(False, "Batch rows of similar length together.", by="the samplers")
    use_legacy_prediction_loop: Flag = refused(
        False, "Use the old evaluation loop.", instead="the old loop is gone; remove it"
    )
    include_inputs_for_metrics: Flag = refused(
        False,
        "Give model inputs to compute_metrics.",
        instead="it feeds compute_metrics, which this trainer does not call; write an evaluator",
    )
    fp16_backend: PrecisionBackend = translated("auto", "Older name of half_precision_backend.", to="")
    push_to_hub_model_id: Text | None = translated(None, "Repository name without its owner.", to="hub_model_id")
    push_to_hub_organization: Text | None = translated(None, "Owner of the repository.", to="hub_model_id")
    push_to_hub_token: Secret | None = environment(None, "Access token.", by="HF_TOKEN")
    mp_parameters: Text = refused(
        "", "SageMaker launcher string.", instead="the SageMaker launcher sets it, not the training step; remove it"
    )
    torchdynamo: Text | None = translated(None, "Older name of torch_compile_backend.", to="torch_compile_backend")
    ray_scope: Text | None = refused(
        "last",
        "Scope of Ray Tune best trial.",
        instead="it belongs to a search over hyperparameters, which a step does not run; remove it",
    )
    dispatch_batches: Flag | None = translated(
        None, "Only the main process iterates and sends batches.", to="accelerator_config.dispatch_batches"
    )
    split_batches: Flag | None = translated(
        False, "Split each batch over the processes.", to="accelerator_config.split_batches"
    )
    include_tokens_per_second: Flag = implemented(False, "Log training tokens per second.", by="the trainer")


class Arguments(
    Legacy, Hub, Tracking, Logging, Saving, Evaluation, Compile, Distributed, Hardware, Precision, Optimizer, Data,
    Batch, Schedule, Output,
):  # fmt: skip
    """Training arguments by their names in SentenceTransformerTrainingArguments, of either era."""

    # Pydantic takes the fields of the last base first.
    _is_dump: bool = PrivateAttr(default=False)

    @property
    def is_dump(self) -> bool:
        """Whether they were written by a library, which writes every default too."""
        return self._is_dump

    @model_validator(mode="wrap")
    @classmethod
    def _of_either_era(cls, raw: Any, handler: ModelWrapValidatorHandler["Arguments"]) -> "Arguments":
        if isinstance(raw, cls):
            return raw
        written = written_arguments(raw, cls)
        arguments = handler(written.values)
        arguments._is_dump = written.is_dump
        # Filled in here rather than in a copy, which `Arguments(...)` would not give back.
        todays = rename_arguments(arguments)
        arguments.__dict__.update(todays.__dict__)
        arguments.__pydantic_fields_set__.update(todays.model_fields_set)
        return arguments


GROUPS: tuple[type[Group], ...] = (
    Output, Schedule, Batch, Data, Optimizer, Precision, Hardware, Distributed, Compile, Evaluation, Saving, Logging,
    Tracking, Hub, Legacy,
)  # fmt: skip

CONTRACT: Mapping[str, Contract] = {row.name: row for row in contracts_of(GROUPS, Legacy)}
"""Each argument's row, by name."""
