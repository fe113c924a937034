"""Every place where embedstep relies on the inside of another library: its private names and the methods it overrides.

A release may change any of them without notice, so `pyproject.toml` admits no release of these libraries beyond those
in `TESTED`. To admit a newer one: install it, run `tests/test_hooks.py`, which names each hook that has
changed, read what the library does there now, and raise the release here, in `pyproject.toml` and `constraints.txt`.

The table is plain data, so that libraries of different environments can stand in it. What compares it with them does
without pytest, which the environment of Airflow lacks.
"""

import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TESTED: Mapping[str, str] = {
    "accelerate": "1.15.0",
    "apache-airflow-providers-cncf-kubernetes": "10.25.0",
    "datasets": "5.2.0",
    "mlflow": "3.17.2",
    "sentence-transformers": "6.2.0",
    "torch": "2.13.0",
    "transformers": "5.24.0",
}
"""The release of each library that the hooks were tested with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """A name of another library that it may change without notice.

    Attributes:
        library: distribution that the name belongs to.
        owner: module, or `module:Class`.
        name: method, function, attribute or option.
        signature: parameters and defaults, without types; None for a name that cannot be called, which then has to
            stand in the source of the owner.
        reason: what embedstep needs it for, and why no public name serves.
    """

    library: str
    owner: str
    name: str
    signature: str | None
    reason: str


def _hooks(library: str, owner: str, rows: Mapping[str, str]) -> tuple[Hook, ...]:
    """Make hooks of reasons by `name(parameters)`, or by `name` for one that cannot be called."""
    found = []
    for call, reason in rows.items():
        name, sign, parameters = call.partition("(")
        signature = f"({parameters}" if sign else None
        found.append(Hook(library=library, owner=owner, name=name, signature=signature, reason=reason))
    return tuple(found)


# fmt: off
HOOKS: tuple[Hook, ...] = (
    *_hooks("transformers", "transformers.trainer:Trainer", {
        # Overridden.
        "_clip_grad_norm(self, model)":
            "skip the pass over gradients within the norm on a CPU, 6 % of a step; no callback replaces clipping",
        "_determine_best_metric(self, metrics, trial)":
            "count only models with a checkpoint as the best; callbacks run after the choice",
        "_finalize_training(self, trial, num_train_samples, start_time)":
            "wait until the last checkpoint has its name before old ones are removed; on_train_end comes later",
        "_get_output_dir(self, trial)":
            "write checkpoints to a staging folder; a changed output_dir would be saved with the arguments",
        "_inner_training_loop(self, batch_size=None, args=None, resume_from_checkpoint=None, trial=None, "
        "ignore_keys_for_eval=None)":
            "refuse a smaller batch once steps were made; on_train_begin no longer knows of them",
        "_load_rng_state(self, checkpoint)":
            "keep the random states that overdue evaluations have left; batches are drawn before on_step_begin",
        "_maybe_log_save_evaluate(self, tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, "
        "start_time, learning_rate=None)":
            "put off what is due after a step when interrupted, and do it after resuming",
        "_run_epoch(self, model, epoch, train_dataloader, steps_in_epoch, num_update_steps_per_epoch, trial, "
        "ignore_keys_for_eval, start_time, resume_from_checkpoint, epochs_trained, steps_trained_in_current_epoch)":
            "make no step after a checkpoint at which early stopping has ended; the library looks only after a step",
        "_save_checkpoint(self, model, trial)":
            "publish a checkpoint only when all ranks have written it; on_save comes after it has its name",
        "_track_num_input_tokens(self, inputs)":
            "count the tokens of all columns; the library looks for one column without a prefix",
        "evaluation_loop(self, dataloader, description, prediction_loss_only=None, ignore_keys=None, "
        "metric_key_prefix='eval')":
            "evaluate in the requested precision, weight losses by rows, and notice interruptions",
        "log(self, logs, start_time=None)": "log the mean loss of all attempts",
        "prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None)":
            "notice an interruption before each batch of an evaluation; on_prediction_step comes after it",
        "train(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None)":
            "skip the evaluation at the start when resuming, and wait for the last checkpoint",
        "training_step(self, model, inputs, num_items_in_batch=None)":
            "see the loss of each batch before the library replaces one that is not finite",
        # Read and restored when a training resumes between two logs.
        "_globalstep_last_logged": "step of the last log, which the mean loss of the next log starts at",
        "_total_loss_scalar": "sum of the losses until the last log",
        "_tr_loss": "sum of this rank's losses since the last log",
        "_train_batch_size": "the batch size that auto_find_batch_size is trying; the state has it too late",
    }),
    *_hooks("transformers", "transformers.modeling_utils:PreTrainedModel", {
        "_from_config(config, **kwargs)": "make a model with fewer layers in the precision of the whole one",
        "should_save_on_this_rank(self, is_main_process)":
            "write weights on the first rank of every node (save_on_each_node)",
    }),
    *_hooks("transformers", "transformers.trainer_callback:EarlyStoppingCallback", {
        "on_evaluate(self, args, state, control, metrics, **kwargs)":
            "count one of several datasets, and record where the training ends",
        "on_train_begin(self, args, state, control, **kwargs)": "count evaluations of the training only",
        "on_train_end(self, args, state, control, **kwargs)": "count evaluations of the training only",
    }),
    *_hooks("transformers", "transformers.trainer_utils", {
        "rotate_checkpoints(output_dir, save_total_limit=None, best_model_checkpoint=None, use_mtime=False, "
        "checkpoint_prefix='checkpoint')":
            "remove old checkpoints by the library's own rule after a new one is published",
    }),
    *_hooks("sentence-transformers", "sentence_transformers.base.trainer:BaseTrainer", {
        # Overridden.
        "_build_dataloader(self, dataset, batch_size, dataset_kind)":
            "form batches as planned and read rows of a batch at once; the public loaders only wrap it",
        "_load_best_model(self)": "wait for the best checkpoint, and fail if it cannot be loaded",
        "_push_from_checkpoint(self, checkpoint_folder)": "push a checkpoint only after it has its name",
        "_save(self, output_dir=None, state_dict=None)": "write files on one rank per folder only",
        "evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix='eval')":
            "undo an evaluation that is interrupted, so that the next attempt repeats all of it",
        "evaluation_loop(self, dataloader, description, prediction_loss_only=None, ignore_keys=None, "
        "metric_key_prefix='eval')":
            "as in transformers, which this one calls",
        "get_batch_sampler(self, dataset, batch_size, drop_last, valid_label_columns=None, generator=None, seed=0)":
            "draw with data_seed",
        "get_eval_dataloader(self, eval_dataset=None)": "give every evaluation the same order of rows",
        "get_multi_dataset_batch_sampler(self, dataset, batch_samplers, generator=None, seed=0)": "draw with data_seed",
        "log(self, logs, start_time=None)": "as in transformers, which this one calls",
        # Called and read.
        "_eval_dataloaders": "drop loaders that are kept with their workers, and with another order of rows",
        "_load_from_checkpoint(self, checkpoint_path)": "load a model's weights without a training",
        "_train_dataloader": "find the loader whose workers persist, to end them after the training",
    }),
    *_hooks("sentence-transformers", "sentence_transformers.base.model:BaseModel", {
        "_create_model_card(self, path, model_name=None, train_datasets='deprecated')":
            "write a card without training rows, also with checkpoints; the template cannot be chosen",
    }),
    *_hooks("sentence-transformers", "sentence_transformers.base.data_collator:BaseDataCollator", {
        "preprocess_fn": "pad token ids that are kept in place of texts",
    }),
    *_hooks(
        "sentence-transformers",
        "sentence_transformers.sentence_transformer.evaluation:InformationRetrievalEvaluator", {
        "compute_metrics(self, queries_result_list)": "keep the hits of each query; the result has only means",
        "embed_inputs(self, model, sentences, encode_fn_name=None, prompt_name=None, prompt=None, **kwargs)":
            "embed each text once for several dimensions",
    }),
    *_hooks("accelerate", "accelerate.data_loader", {
        "prepare_data_loader(dataloader, device=None, num_processes=None, process_index=None, split_batches=False, "
        "put_on_device=False, rng_types=None, dispatch_batches=None, even_batches=True, "
        "slice_fn_for_dispatch=None, use_seedable_sampler=False, data_seed=None, non_blocking=False, "
        "use_stateful_dataloader=False, torch_device_mesh=None)":
            "move batches to the device without sharding them again",
    }),
    *_hooks("accelerate", "accelerate.accelerator:Accelerator", {
        "_is_accelerate_prepared": "keep the accelerator from sharding batches that are one rank's already",
    }),
    *_hooks("datasets", "datasets.arrow_dataset:Dataset", {
        "_data_files": "list the files of a dataset saved with save_to_disk without importing datasets",
    }),
    *_hooks("torch", "torch.distributed.distributed_c10d", {
        "_set_pg_timeout(timeout, group=None)":
            "apply ddp_timeout on a CPU after the ranks have met, for which they need time to import",
    }),
    *_hooks("torch", "torch.utils.data:DataLoader", {
        "_iterator": "the running workers of a loader whose workers persist; a loader cannot be closed",
    }),
    *_hooks("torch", "torch.utils.data.dataloader:_MultiProcessingDataLoaderIter", {
        "_shutdown_workers(self)": "end workers that persist; left to the garbage collector, it takes 10 s each",
    }),
    *_hooks("torch", "torch.distributed.run", {
        "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "show the ranks' lines without a prefix",
        "parse_args(args)": "take torchrun's options unchanged",
        "run(args)": "run torchrun in a process that records how the ranks ended",
        "signals_to_handle": "leave SIGTERM and SIGINT to our handlers, which give ranks time to save",
    }),
    *_hooks("torch", "torch.distributed.elastic.multiprocessing.api", {
        "attempt_": "folder of the ranks' logs, from which the last lines of a killed rank are read",
        "stderr.log": "file of a rank in that folder",
    }),
    *_hooks(
        "torch", "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler:SubprocessHandler", {
        "_popen(self, args, env)":
            "take a rank that was started while torchrun was imported, in place of a new interpreter",
        "_stderr": "the file for that rank's output",
        "_stdout": "as above",
    }),
    *_hooks("mlflow", "mlflow.models.utils", {
        "_save_example(mlflow_model, input_example, path)":
            "write the input example of a model that is logged from its files, without loading it",
    }),
    *_hooks("mlflow", "mlflow.system_metrics.system_metrics_monitor:SystemMetricsMonitor", {
        "__init__(self, run_id, sampling_interval=10, samples_before_logging=1, resume_logging=False, node_id=None, "
        "tracking_uri=None)":
            "read the machine's metrics without MLflow's thread, which ends when a server does not answer",
        "aggregate_metrics(self)": "as above",
        "collect_metrics(self)": "as above",
    }),
    *_hooks(
        "apache-airflow-providers-cncf-kubernetes",
        "airflow.providers.cncf.kubernetes.operators.pod:KubernetesPodOperator", {
        "build_pod_request_obj(self, context=None, *, dry_run=False)":
            "give the sidecar the image that the node has already",
        "cleanup(self, pod, remote_pod, xcom_result=None, context=None)":
            "turn the exit code of the container into a failure that Airflow retries or not",
        "execute(self, context)": "pass the task to the container, and skip what follows if nothing was trained",
        "trigger_reentry(self, context, event)": "the same when the task was deferred",
    }),
)
# fmt: on


def owner_of(hook: Hook) -> Any:
    """The module or class of a hook."""
    module, _, name = hook.owner.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def signature_of(function: Any) -> str:
    """Parameters and defaults without types: those are not what a call or an override depends on."""
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def problem_of(hook: Hook) -> str:
    """Say how the installed library differs from the table, or nothing."""
    owner = owner_of(hook)
    if hook.signature is None:
        is_there = re.search(rf"(?<!\w){re.escape(hook.name)}(?![a-z0-9])", inspect.getsource(owner))
        return "" if is_there else f"{hook.owner} no longer has {hook.name}"
    if not hasattr(owner, hook.name):
        return f"{hook.owner}.{hook.name} is gone"
    found = signature_of(getattr(owner, hook.name))
    return "" if found == hook.signature else f"{hook.owner}.{hook.name} is now {found}"
