"""The training arguments as keyword arguments, for completion in editors. Written by `make golden`."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from typing_extensions import TypedDict


class Channel(Protocol):
    """A value known only when the pipeline runs: a pipeline parameter or the output of a task (kfp's channel)."""

    channel_type: Any


class ArgumentParameters(TypedDict, total=False):
    """Every training argument, old and new. Those left out keep the value in the request."""

    output_dir: str | Channel
    num_train_epochs: float | Channel
    max_steps: int | Channel
    lr_scheduler_type: str | Channel
    lr_scheduler_kwargs: Mapping[str, Any] | Channel
    warmup_ratio: float | Channel
    warmup_steps: int | float | Channel
    per_device_train_batch_size: int | Channel
    per_device_eval_batch_size: int | Channel
    gradient_accumulation_steps: int | Channel
    auto_find_batch_size: bool | Channel
    average_tokens_across_devices: bool | Channel
    seed: int | Channel
    data_seed: int | Channel
    dataloader_drop_last: bool | Channel
    dataloader_num_workers: int | Channel
    remove_unused_columns: bool | Channel
    label_names: list[str] | Channel
    ignore_data_skip: bool | Channel
    length_column_name: str | Channel
    dataloader_pin_memory: bool | Channel
    dataloader_persistent_workers: bool | Channel
    full_determinism: bool | Channel
    batch_sampler: Literal["batch_sampler", "no_duplicates", "no_duplicates_hashed", "group_by_label"] | str | Channel
    multi_dataset_batch_sampler: Literal["round_robin", "proportional"] | Channel
    accelerator_config: Mapping[str, Any] | Channel
    dataloader_prefetch_factor: int | Channel
    dataloader_multiprocessing_context: Literal["fork", "forkserver", "spawn"] | Channel
    dataloader_in_order: bool | Channel
    train_sampling_strategy: Literal["random", "sequential", "group_by_length"] | Channel
    prompts: Mapping[str, Any] | str | Channel
    router_mapping: Mapping[str, Any] | Channel
    learning_rate: float | Channel
    weight_decay: float | Channel
    adam_beta1: float | Channel
    adam_beta2: float | Channel
    adam_epsilon: float | Channel
    max_grad_norm: float | Channel
    label_smoothing_factor: float | Channel
    optim: str | Channel
    optim_args: str | Channel
    gradient_checkpointing: bool | Channel
    gradient_checkpointing_kwargs: Mapping[str, Any] | Channel
    neftune_noise_alpha: float | Channel
    optim_target_modules: str | list[str] | Channel
    use_liger_kernel: bool | Channel
    liger_kernel_config: Mapping[str, Any] | Channel
    use_cache: bool | Channel
    learning_rate_mapping: Mapping[str, Any] | Channel
    activation_checkpointing: bool | Channel
    activation_checkpointing_kwargs: Mapping[str, Any] | Channel
    bf16: bool | Channel
    fp16: bool | Channel
    bf16_full_eval: bool | Channel
    fp16_full_eval: bool | Channel
    tf32: bool | Channel
    use_cpu: bool | Channel
    torch_empty_cache_steps: int | Channel
    local_rank: int | Channel
    ddp_backend: str | Channel
    fsdp: str | list[str] | bool | Channel
    fsdp_config: Mapping[str, Any] | str | Channel
    deepspeed: Mapping[str, Any] | str | Channel
    ddp_find_unused_parameters: bool | Channel
    ddp_bucket_cap_mb: int | Channel
    ddp_broadcast_buffers: bool | Channel
    ddp_timeout: int | Channel
    eval_use_gather_object: bool | Channel
    parallelism_config: Mapping[str, Any] | Channel
    ddp_static_graph: bool | Channel
    torch_compile: bool | Channel
    torch_compile_backend: str | Channel
    torch_compile_mode: str | Channel
    do_train: bool | Channel
    do_eval: bool | Channel
    do_predict: bool | Channel
    prediction_loss_only: bool | Channel
    eval_accumulation_steps: int | Channel
    eval_delay: int | float | Channel
    eval_steps: int | float | Channel
    eval_strategy: Literal["no", "steps", "epoch"] | Channel
    eval_on_start: bool | Channel
    eval_do_concat_batches: bool | Channel
    include_for_metrics: list[str] | Channel
    batch_eval_metrics: bool | Channel
    save_strategy: Literal["no", "steps", "epoch", "best"] | Channel
    save_steps: int | float | Channel
    save_total_limit: int | Channel
    save_on_each_node: bool | Channel
    save_only_model: bool | Channel
    load_best_model_at_end: bool | Channel
    metric_for_best_model: str | Channel
    greater_is_better: bool | Channel
    resume_from_checkpoint: str | Channel
    enable_jit_checkpoint: bool | Channel
    restore_callback_states_from_checkpoint: bool | Channel
    log_level: Literal["detail", "debug", "info", "warning", "error", "critical", "passive"] | Channel
    log_level_replica: Literal["detail", "debug", "info", "warning", "error", "critical", "passive"] | Channel
    log_on_each_node: bool | Channel
    logging_strategy: Literal["no", "steps", "epoch"] | Channel
    logging_first_step: bool | Channel
    logging_steps: int | float | Channel
    logging_nan_inf_filter: bool | Channel
    debug: str | list[str] | Channel
    disable_tqdm: bool | Channel
    skip_memory_metrics: bool | Channel
    include_num_input_tokens_seen: Literal["no", "all", "non_padding"] | Channel
    run_name: str | Channel
    report_to: str | list[str] | Channel
    project: str | Channel
    trackio_space_id: str | Channel
    trackio_bucket_id: str | Channel
    trackio_static_space_id: str | bool | Channel
    push_to_hub: bool | Channel
    hub_model_id: str | Channel
    hub_strategy: Literal["end", "every_save", "checkpoint", "all_checkpoints"] | Channel
    hub_token: Mapping[str, str] | Channel
    hub_private_repo: bool | Channel
    hub_always_push: bool | Channel
    hub_revision: str | Channel
    overwrite_output_dir: bool | Channel
    evaluation_strategy: Literal["no", "steps", "epoch"] | Channel
    per_gpu_train_batch_size: int | Channel
    per_gpu_eval_batch_size: int | Channel
    logging_dir: str | Channel
    save_safetensors: bool | Channel
    no_cuda: bool | Channel
    use_mps_device: bool | Channel
    jit_mode_eval: bool | Channel
    use_ipex: bool | Channel
    fp16_opt_level: str | Channel
    half_precision_backend: Literal["auto", "cuda_amp", "cpu_amp", "apex"] | Channel
    tpu_num_cores: int | Channel
    tpu_metrics_debug: bool | Channel
    past_index: int | Channel
    fsdp_min_num_params: int | Channel
    fsdp_transformer_layer_cls_to_wrap: str | Channel
    adafactor: bool | Channel
    group_by_length: bool | Channel
    use_legacy_prediction_loop: bool | Channel
    include_inputs_for_metrics: bool | Channel
    fp16_backend: Literal["auto", "cuda_amp", "cpu_amp", "apex"] | Channel
    push_to_hub_model_id: str | Channel
    push_to_hub_organization: str | Channel
    push_to_hub_token: Mapping[str, str] | Channel
    mp_parameters: str | Channel
    torchdynamo: str | Channel
    ray_scope: str | Channel
    dispatch_batches: bool | Channel
    split_batches: bool | Channel
    include_tokens_per_second: bool | Channel
