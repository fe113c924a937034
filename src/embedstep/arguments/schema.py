"""Every training argument that the installed SentenceTransformerTrainingArguments has, as one typed table.

It is written down here rather than read from the class, because importing the class takes seconds and torch, and a
request is checked before either is there. A test compares each row with the installed class, so a release that adds,
drops or changes an argument is noticed by name.

`instead` marks the arguments that the installed trainer accepts and then ignores, or breaks on: a value other than
the default is refused with that sentence, because an argument that silently does nothing is the worst of answers.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from embedstep.request.scalars import CHOICE, CountOrShare, Flag, Integer, Number, PlainData, Text, plain

INSTEAD = "x-instead"


def argument(default: Any, description: str, *, instead: str = "") -> Any:
    """Describe one argument: its default in the installed class, what it is for, and why it is refused, if it is."""
    return Field(default, description=description, json_schema_extra={INSTEAD: instead} if instead else None)


def _mapping(raw: Any) -> Any:
    """Read a mapping that was written as JSON text, as a command line has to."""
    value = plain(raw)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"it starts like a JSON mapping and is not one: {error}") from error
    return value


Mapping = Annotated[dict[str, PlainData], BeforeValidator(_mapping)]
Prompts = Annotated[dict[str, Text | dict[str, Text]] | Text, BeforeValidator(_mapping)]
TextOrTexts = Text | list[Text]
Interval = Annotated[Literal["no", "steps", "epoch"], CHOICE]
SaveInterval = Annotated[Literal["no", "steps", "epoch", "best"], CHOICE]
HubStrategy = Literal["end", "every_save", "checkpoint", "all_checkpoints"]
BatchSampler = Literal["batch_sampler", "no_duplicates", "no_duplicates_hashed", "group_by_label"]
MultiDatasetBatchSampler = Literal["round_robin", "proportional"]
TokenCount = Annotated[Literal["no", "all", "non_padding"], CHOICE]
Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "greedy",
]
Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_torch_xla",
    "adamw_torch_npu_fused",
    "adafactor",
    "adamw_anyprecision",
    "adamw_torch_4bit",
    "adamw_torch_8bit",
    "ademamix",
    "sgd",
    "adagrad",
    "adamw_bnb_8bit",
    "adamw_8bit",
    "ademamix_8bit",
    "lion_8bit",
    "lion_32bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "rmsprop",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
    "galore_adamw",
    "galore_adamw_8bit",
    "galore_adafactor",
    "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise",
    "galore_adafactor_layerwise",
    "lomo",
    "adalomo",
    "grokadamw",
    "schedule_free_radam",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "apollo_adamw",
    "apollo_adamw_layerwise",
    "stable_adamw",
]


class Arguments(BaseModel):
    """Training arguments by their names in SentenceTransformerTrainingArguments, with its defaults."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    # output
    output_dir: Text | None = argument(None, "Output folder of the step; `embedstep run --output` wins over it.")
    # schedule
    num_train_epochs: Number = argument(3.0, "Number of epochs, fractions allowed.")
    max_steps: Integer = argument(-1, "Total optimizer steps; a positive value overrides epochs; -1 = use epochs.")
    lr_scheduler_type: Scheduler = argument("linear", "Learning rate schedule name.")
    lr_scheduler_kwargs: Mapping | None = argument(None, "Extra keyword arguments of the scheduler factory.")
    warmup_steps: CountOrShare = argument(0, "Number of warmup steps; overrides warmup_ratio.")
    warmup_ratio: Number | None = argument(None, "Warmup as a share of all steps, 0..1.")
    # batch
    per_device_train_batch_size: Integer = argument(8, "Training batch size per device.")
    gradient_accumulation_steps: Integer = argument(1, "Micro-batches per optimizer step.")
    average_tokens_across_devices: Flag = argument(
        True,
        "Scale the loss by tokens over all devices.",
        instead="the sentence-transformers losses average over rows, not tokens; remove it",
    )
    auto_find_batch_size: Flag = argument(
        False,
        "Retry with smaller batches after out-of-memory.",
        instead="the installed trainer retries with the same size until it gives up; set per_device_train_batch_size",
    )
    per_device_eval_batch_size: Integer = argument(8, "Evaluation batch size per device.")
    # data
    ignore_data_skip: Flag = argument(
        False,
        "When resuming, do not skip batches already seen.",
        instead="a run starts from the beginning; remove it",
    )
    full_determinism: Flag = argument(False, "Deterministic algorithms and seed.")
    seed: Integer = argument(42, "Random seed for python/numpy/torch and the data order.")
    data_seed: Integer | None = argument(None, "Seed of the data sampler only.")
    accelerator_config: Mapping | None = argument(
        None,
        "Settings of accelerate: dispatch_batches, even_batches, non_blocking, split_batches, use_seedable_sampler.",
    )
    dataloader_drop_last: Flag = argument(False, "Drop the last incomplete batch.")
    dataloader_num_workers: Integer = argument(0, "Worker processes of the dataloader.")
    dataloader_pin_memory: Flag = argument(True, "Pin host memory in the loader.")
    dataloader_persistent_workers: Flag = argument(False, "Keep loader workers alive.")
    dataloader_prefetch_factor: Integer | None = argument(None, "Batches prefetched per worker.")
    dataloader_multiprocessing_context: Text | None = argument(
        None,
        "Start method of loader workers.",
        instead="the installed trainer does not hand it to its loader; remove it",
    )
    dataloader_in_order: Flag = argument(
        True,
        "Yield batches in order.",
        instead="the installed trainer does not hand it to its loader; remove it",
    )
    remove_unused_columns: Flag = argument(
        True,
        "Drop dataset columns the model does not take.",
        instead="columns are chosen by their roles; leave the column out of data.*.columns, or name it there",
    )
    label_names: list[Text] | None = argument(
        None,
        "Input keys that are labels.",
        instead="labels are chosen by role; name the column as data.*.columns.label",
    )
    train_sampling_strategy: Text = argument(
        "random",
        "random/sequential/group_by_length/batch_rebalance.",
        instead="the installed trainer draws batches with its own samplers and never reads it; remove it",
    )
    length_column_name: Text = argument(
        "length",
        "Dataset column that holds lengths.",
        instead="the installed trainer never reads it; remove it",
    )
    prompts: Prompts | None = argument(None, "Prompt text per column or dataset.")
    batch_sampler: BatchSampler = argument(
        "batch_sampler", "How rows form batches: batch_sampler/no_duplicates/group_by_label."
    )
    multi_dataset_batch_sampler: MultiDatasetBatchSampler = argument(
        "proportional", "How batches are drawn from several datasets."
    )
    router_mapping: Mapping = argument({}, "Column -> Router route.")
    # optimizer
    learning_rate: Number = argument(5e-05, "Initial (peak) learning rate.")
    optim: Optimizer = argument("adamw_torch_fused", "Optimizer name.")
    optim_args: Text | None = argument(None, "Extra optimizer options `a=1,b=2`.")
    weight_decay: Number = argument(0.0, "Weight decay for all parameters but biases and norm weights.")
    adam_beta1: Number = argument(0.9, "Adam beta1.")
    adam_beta2: Number = argument(0.999, "Adam beta2.")
    adam_epsilon: Number = argument(1e-08, "Adam epsilon.")
    optim_target_modules: TextOrTexts | None = argument(
        None,
        "Module names for GaLore/APOLLO optimizers.",
        instead="it belongs to the GaLore and APOLLO optimizers, which are not part of the train extra; remove it",
    )
    max_grad_norm: Number = argument(1.0, "Gradient clipping norm; 0 disables.")
    label_smoothing_factor: Number = argument(
        0.0,
        "Label smoothing of a cross-entropy loss.",
        instead="the installed trainer computes the loss itself and never smooths labels; remove it",
    )
    activation_checkpointing: Flag | None = argument(
        None, "Recompute activations to save memory; newer name of gradient_checkpointing."
    )
    activation_checkpointing_kwargs: Mapping | None = argument(None, "Options of activation_checkpointing.")
    gradient_checkpointing: Flag | None = argument(None, "Recompute activations to save memory.")
    gradient_checkpointing_kwargs: Mapping | None = argument(None, "Options of torch checkpointing.")
    use_liger_kernel: Flag = argument(
        False,
        "Liger Triton kernels.",
        instead="its kernels are for language model heads and do nothing here; remove it",
    )
    liger_kernel_config: Mapping | None = argument(
        None,
        "Options for use_liger_kernel.",
        instead="its kernels are for language model heads and do nothing here; remove it",
    )
    use_cache: Flag = argument(False, "Value written to model.config.use_cache.")
    neftune_noise_alpha: Number | None = argument(
        None,
        "Noise on the embeddings while training.",
        instead="the installed trainer fails on it with this kind of model; remove it",
    )
    learning_rate_mapping: Mapping = argument({}, "Regular expression -> learning rate.")
    # precision
    bf16: Flag = argument(False, "bfloat16 mixed precision.")
    fp16: Flag = argument(False, "float16 mixed precision.")
    bf16_full_eval: Flag = argument(False, "Evaluate with the model cast to bfloat16.")
    fp16_full_eval: Flag = argument(False, "Evaluate with the model cast to float16.")
    tf32: Flag | None = argument(None, "Allow TF32 matmul on Ampere and newer.")
    # hardware
    torch_empty_cache_steps: Integer | None = argument(None, "Clear the device cache every N steps.")
    use_cpu: Flag = argument(False, "Train on the CPU even if an accelerator exists.")
    # distributed
    eval_use_gather_object: Flag = argument(False, "Gather Python objects in evaluation.")
    parallelism_config: Mapping | None = argument(
        None,
        "accelerate ParallelismConfig object.",
        instead="it is a Python object, which a document cannot hold; remove it",
    )
    ddp_find_unused_parameters: Flag | None = argument(None, "DDP find_unused_parameters.")
    ddp_bucket_cap_mb: Integer | None = argument(None, "DDP bucket size.")
    ddp_broadcast_buffers: Flag | None = argument(
        None, "DDP broadcast_buffers.", instead="the installed trainer always uses false; remove it"
    )
    ddp_static_graph: Flag | None = argument(None, "DDP static_graph.")
    ddp_backend: Text | None = argument(None, "torch.distributed backend.")
    ddp_timeout: Integer = argument(1800, "Seconds before collective operations time out.")
    fsdp: TextOrTexts | None = argument(None, "Fully sharded data parallel options.")
    fsdp_config: Mapping | None = argument(None, "FSDP settings: mapping, JSON string or file.")
    deepspeed: Mapping | Text | None = argument(
        None,
        "DeepSpeed configuration file or mapping.",
        instead="DeepSpeed is not part of the train extra; remove it",
    )
    local_rank: Integer = argument(
        -1, "Rank given by the old launcher.", instead="torchrun gives each process its rank; remove it"
    )
    # compile
    torch_compile: Flag = argument(False, "Compile the model.")
    torch_compile_backend: Text | None = argument(None, "Compile backend; implies torch_compile.")
    torch_compile_mode: Text | None = argument(None, "Compile mode; implies torch_compile.")
    # evaluation
    eval_strategy: Interval = argument("no", "When to evaluate: no/steps/epoch.")
    eval_steps: CountOrShare | None = argument(None, "Steps between evaluations; <1 = share; default = logging_steps.")
    eval_delay: Number = argument(0.0, "Epochs or steps to wait before the first evaluation.")
    prediction_loss_only: Flag = argument(False, "Return only the loss from evaluation.")
    eval_on_start: Flag = argument(False, "Evaluate before the first step.")
    eval_do_concat_batches: Flag = argument(
        True,
        "Concatenate per-batch results.",
        instead="the installed trainer keeps no predictions; remove it",
    )
    eval_accumulation_steps: Integer | None = argument(
        None, "Number of evaluation batches after which gathered tensors move to CPU."
    )
    include_for_metrics: list[Text] = argument(
        [],
        "Extra data for compute_metrics: inputs, loss.",
        instead="it feeds compute_metrics, which this trainer does not call; write an evaluator",
    )
    batch_eval_metrics: Flag = argument(
        False,
        "Compute metrics batch by batch.",
        instead="it feeds compute_metrics, which this trainer does not call; write an evaluator",
    )
    do_train: Flag = argument(False, "Whether the step should train at all.")
    do_eval: Flag = argument(
        False, "Whether to evaluate; switched on automatically when the evaluation strategy is not `no`."
    )
    do_predict: Flag = argument(
        False,
        "Whether to run prediction on a held-out test set.",
        instead="there is no prediction in a train step; write an evaluator",
    )
    # saving
    save_only_model: Flag = argument(False, "Leave optimizer, scheduler and RNG state out of checkpoints.")
    save_strategy: SaveInterval = argument("steps", "When to write checkpoints: no/steps/epoch.")
    save_steps: CountOrShare = argument(500, "Steps between checkpoints; <1 = share.")
    save_on_each_node: Flag = argument(
        False,
        "Write checkpoints on every node.",
        instead="the installed trainer writes no weights on the other nodes; remove it",
    )
    save_total_limit: Integer | None = argument(None, "Keep at most this many checkpoints.")
    enable_jit_checkpoint: Flag = argument(
        False,
        "Save a checkpoint on SIGTERM.",
        instead="the installed trainer hangs on it when only one of several processes is signalled; remove it",
    )
    load_best_model_at_end: Flag = argument(False, "Reload the best checkpoint after training.")
    metric_for_best_model: Text | None = argument(None, "Metric used to choose the best checkpoint.")
    greater_is_better: Flag | None = argument(None, "Whether a larger metric is better.")
    restore_callback_states_from_checkpoint: Flag = argument(
        False, "Restore callback state on resume.", instead="a run starts from the beginning; remove it"
    )
    resume_from_checkpoint: Text | None = argument(
        None,
        "Checkpoint to resume from.",
        instead="a run starts from the beginning; name the model folder as `model` to train on from its weights",
    )
    # logging
    logging_strategy: Interval = argument("steps", "When training metrics are logged: no/steps/epoch.")
    logging_steps: CountOrShare = argument(500, "Steps between logs; <1 = share of all steps.")
    logging_first_step: Flag = argument(False, "Also log step 1.")
    log_on_each_node: Flag = argument(True, "Whether each node logs at log_level or only the first.")
    logging_nan_inf_filter: Flag = argument(True, "Hide nan/inf losses from the log.")
    include_num_input_tokens_seen: TokenCount = argument(
        "no", "Count input tokens.", instead="the installed trainer counts 0 with prefixed inputs; remove it"
    )
    log_level: Text = argument("passive", "Library log level on the main process.")
    log_level_replica: Text = argument("warning", "Library log level on replicas.")
    disable_tqdm: Flag | None = argument(None, "Hide progress bars.")
    debug: TextOrTexts = argument("", "Debug features: underflow_overflow, tpu_metrics_debug.")
    skip_memory_metrics: Flag = argument(True, "Leave memory numbers out of the metrics.")
    # tracking
    report_to: TextOrTexts | None = argument("none", "Experiment trackers.")
    run_name: Text | None = argument(
        None,
        "Name of the run in trackers.",
        instead="the tracker of embedstep has a name of its own; write tracking.run_name",
    )
    project: Text = argument(
        "huggingface",
        "Trackio project.",
        instead="it belongs to the trackio tracker, which is not part of the train extra; write tracking.experiment",
    )
    trackio_space_id: Text | None = argument(
        None,
        "Trackio Space for live logging.",
        instead="it belongs to the trackio tracker, which is not part of the train extra; remove it",
    )
    trackio_bucket_id: Text | None = argument(
        None,
        "Trackio bucket.",
        instead="it belongs to the trackio tracker, which is not part of the train extra; remove it",
    )
    trackio_static_space_id: Text | None = argument(
        None,
        "Static Trackio Space, false = none.",
        instead="it belongs to the trackio tracker, which is not part of the train extra; remove it",
    )
    # hub
    push_to_hub: Flag = argument(False, "Upload to the Hub on each save.")
    hub_token: Text | None = argument(
        None, "Access token.", instead="a secret has no place in a request; set HF_TOKEN in the environment"
    )
    hub_private_repo: Flag | None = argument(None, "Create the repository as private.")
    hub_model_id: Text | None = argument(None, "Repository name.")
    hub_strategy: HubStrategy = argument(
        "every_save", "What is pushed when: end/every_save/checkpoint/all_checkpoints."
    )
    hub_always_push: Flag = argument(False, "Push even if the previous push still runs.")
    hub_revision: Text | None = argument(None, "Branch or tag to push to.")
