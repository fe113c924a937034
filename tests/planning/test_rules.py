import json
from typing import Any

import pytest

from embedstep.planning.rules import check_rules
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest

COLUMNS = {"anchor": "q", "positive": "p"}
DOCS = {"docs": {"path": "a.parquet", "columns": COLUMNS}}
MORE = {"more": {"path": "b.parquet", "columns": COLUMNS}}
TRAIN = {"train": DOCS}
HOLD_OUT = {"docs": {**DOCS["docs"], "hold_out": {"share": 0.1}}}
BOTH = {"train": DOCS, "eval": DOCS}
RETRIEVAL = {"kind": "information_retrieval", "name": "docs", "dataset": "docs"}
POD = {"image": "embedstep", "namespace": "default", "output": "/out/docs", "resources": {"memory": "2Gi"}}
JOB = {**POD, "volumes": [{"claim": "shared", "path": "/out"}]}
PODS = {"kind": "trainjob", "nodes": 2, "processes_per_node": 1, "trainjob": JOB}
BEST = {"load_best_model_at_end": True, "metric_for_best_model": "loss"}


def request(**sections: Any) -> TrainRequest:
    document = {"model": "folder", "data": TRAIN, "loss": "multiple_negatives_ranking", **sections}
    return load_request(json.dumps(document))


def problems_of(**sections: Any) -> list[str]:
    return [str(problem) for problem in check_rules(request(**sections))]


def arguments(**given: Any) -> dict[str, Any]:
    return {"arguments": given}


MEANINGLESS = [
    (arguments(use_ipex=True),
     "arguments.use_ipex: is refused: the libraries no longer use this extension; bf16 on a CPU works without it"),
    (arguments(half_precision_backend="apex"),
     "arguments.half_precision_backend: is apex, which was removed; leave it out"),
    (arguments(optim="adamw_apex_fused"),
     "arguments.optim: is adamw_apex_fused, which was removed; write adamw_torch_fused"),
    (arguments(optim_args="amsgrad=True"),
     "arguments.optim_args: is not read by adamw_torch; remove it, or choose another optim"),
    (arguments(gradient_checkpointing_kwargs={"use_reentrant": False}),
     "arguments.gradient_checkpointing_kwargs: needs gradient_checkpointing: true"),
    (arguments(fsdp_config={"min_num_params": 5}), "arguments.fsdp_config: needs fsdp"),
    (arguments(eval_accumulation_steps=0), "arguments.eval_accumulation_steps: must be 1 or more, not 0"),
    (arguments(ddp_broadcast_buffers=True),
     "arguments.ddp_broadcast_buffers: is true, and the trainer always uses false; remove it"),
    (arguments(lr_scheduler_kwargs={"power": 2}),
     "arguments.lr_scheduler_kwargs.power: is not an option of linear; it takes none"),
    (arguments(lr_scheduler_type="polynomial", lr_scheduler_kwargs={"powre": 2}),
     "arguments.lr_scheduler_kwargs.powre: is not an option of polynomial; it takes lr_end, power"),
    (arguments(push_to_hub=True), "arguments.hub_model_id: is missing: push_to_hub is true; write owner/name"),
    (arguments(seed=-1), "arguments.seed: must be 0 or more, not -1"),
    (arguments(data_seed=2**40), "arguments.data_seed: must be 4,294,967,295 or less, not 1.09951e+12"),
    (arguments(dataloader_num_workers=-1), "arguments.dataloader_num_workers: must be 0 or more, not -1"),
    (arguments(torch_empty_cache_steps=0), "arguments.torch_empty_cache_steps: must be 1 or more, not 0"),
    (arguments(report_to="tensorbord"), "arguments.report_to: tensorbord is not a tracker; did you mean tensorboard?"),
    (arguments(fsdp="no_shard auto_wrap"), "arguments.fsdp: no_shard is plain DDP; remove it"),
    (arguments(fsdp="hybrid_shard auto_wrap"),
     "arguments.fsdp: hybrid_shard does not exist in FSDP2; write full_shard"),
    (arguments(fsdp="full_shard auto_wrap", fsdp_config={"backward_prefetch": "backward_pre"}),
     "arguments.fsdp_config.backward_prefetch: is not read by FSDP2; remove it"),
    (arguments(fsdp="full_shard", fsdp_min_num_params=100),
     "arguments.fsdp_min_num_params: needs auto_wrap; add it to fsdp"),
    (arguments(fsdp_min_num_params=100), "arguments.fsdp_min_num_params: needs fsdp"),
    (arguments(dispatch_batches=True, accelerator_config={"dispatch_batches": False}),
     "arguments.dispatch_batches: is True, and accelerator_config says False; keep one"),
    (arguments(fsdp="full_shard auto_wrap", fsdp_min_num_params=100, fsdp_config={"min_num_params": 5}),
     "arguments.fsdp_min_num_params: is 100, and fsdp_config says 5; keep one"),
    (arguments(gradient_checkpointing=False, activation_checkpointing=True),
     "arguments.gradient_checkpointing: says activation_checkpointing: False, and activation_checkpointing says True; "
     "keep one"),
    (arguments(fp16_backend="cuda_amp", half_precision_backend="cpu_amp"),
     "arguments.fp16_backend: says half_precision_backend: cuda_amp, and half_precision_backend says cpu_amp; keep "
     "one"),
    ({"data": BOTH, **arguments(do_eval=False)},
     "arguments.eval_strategy: is no, so data.eval is never used; write epoch or steps, or remove data.eval"),
    ({"data": BOTH, **arguments(lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="no", do_eval=True)},
     "arguments.lr_scheduler_type: is reduce_lr_on_plateau, which needs evaluations while training"),
    (arguments(fsdp="full_shard", fsdp_config="fsdp.json"),
     "arguments.fsdp_config: is the name of a file; write the mapping that is in it"),
    (arguments(fsdp="offload"), "arguments.fsdp: is offload alone; add full_shard or shard_grad_op"),
    (arguments(fsdp="full_shard shard_grad_op"),
     "arguments.fsdp: holds full_shard and shard_grad_op; keep one"),
    (arguments(fsdp="full_shard auto_wrap", fsdp_min_num_params=5, fsdp_transformer_layer_cls_to_wrap="BertLayer"),
     "arguments.fsdp_min_num_params: and fsdp_transformer_layer_cls_to_wrap exclude each other; keep one"),
    (arguments(lr_scheduler_type="reduce_lr_on_plateau"),
     "arguments.lr_scheduler_type: is reduce_lr_on_plateau, which needs evaluations while training"),
    (arguments(tpu_metrics_debug=True), "arguments.tpu_metrics_debug: tpu_metrics_debug needs a TPU; remove it"),
    (arguments(use_mps_device=True),
     "arguments.use_mps_device: there is no MPS device on this machine; remove it"),
    (arguments(deepspeed="ds.json"),
     "arguments.deepspeed: is refused: DeepSpeed is not part of the train extra; write fsdp to shard a model that is "
     "too large for one GPU"),
    (arguments(project="mine"),
     "arguments.project: needs trackio, which is not part of the train extra; remove it"),
    (arguments(remove_unused_columns=False),
     "arguments.remove_unused_columns: is false, but columns are chosen by their roles; name the column under "
     "data.*.columns"),
    ({"resume": "never", **arguments(resume_from_checkpoint="last")},
     "resume: is never, and arguments.resume_from_checkpoint names a checkpoint; remove one of them"),
    ({"launch": PODS, **arguments(save_on_each_node=True)},
     "arguments.save_on_each_node: is true, and the pods share one output folder, where two would write the same "
     "files; remove it"),
    (arguments(resume_from_checkpoint="none"),
     "arguments.resume_from_checkpoint: none is not a checkpoint: it has no trainer_state.json"),
    (arguments(eval_on_start=True), "arguments.eval_on_start: is true, but there is nothing under data.eval"),
    (arguments(train_sampling_strategy="sequential", batch_sampler="no_duplicates"),
     "arguments.train_sampling_strategy: is sequential, and batch_sampler no_duplicates needs another order; keep "
     "one of the two"),
    (arguments(batch_sampler="group_by_label", per_device_train_batch_size=9),
     "arguments.per_device_train_batch_size: is 9; group_by_label fills batches with pairs of rows; write an even "
     "number of 4 or more"),
    (arguments(batch_sampler="group_by_label", auto_find_batch_size=True),
     "arguments.auto_find_batch_size: tries odd batch sizes, which group_by_label cannot use; remove it"),
    (arguments(batch_sampler="no_duplicates", accelerator_config={"split_batches": True}),
     "arguments.accelerator_config.split_batches: would divide batches that are already divided among the "
     "processes; remove it"),
    ({"model": {"static": "org/x", "dimension": 8}, **arguments(neftune_noise_alpha=5)},
     "arguments.neftune_noise_alpha: needs a transformer, and model.static is a static embedding"),
    ({"tracking": {"aliases": ["ok", "latest"]}},
     "tracking.aliases.1: is latest, which MLflow reserves; choose another, such as challenger"),
    ({"tracking": {"run_name": "a"}, **arguments(run_name="b")},
     "arguments.run_name: is 'b', and tracking.run_name is 'a'; keep one"),
    (arguments(do_predict=True), "arguments.do_predict: is true, but there is nothing under data.test"),
    ({"data": {"train": DOCS, "test": DOCS}},
     "data.test: is not used; write arguments.do_predict: true"),
    ({"data": {"train": DOCS, "test": MORE}, **arguments(do_predict=True)},
     "data.test.more: has no loss; give it the name of a train dataset (docs)"),
    (arguments(evaluation_strategy="steps", eval_strategy="no"),
     "arguments.evaluation_strategy: says eval_strategy: steps, and eval_strategy says no; keep one"),
    (arguments(no_cuda=True, use_cpu=False), "arguments.no_cuda: says use_cpu: True, and use_cpu says False; keep one"),
]  # fmt: skip
"""What older files hold that nothing would do today, each with its sentence."""


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"loss": {"docs": "cosent"}},
        {"data": {"train": {**DOCS, **MORE}}, "loss": {"docs": "cosent", "more": "triplet"}},
        {"data": {"train": {**DOCS, **MORE}}},
        {"data": BOTH},
        {"data": {"train": DOCS, "eval": MORE}, "evaluators": [{**RETRIEVAL, "dataset": "more"}]},
        {"data": BOTH, "evaluators": [RETRIEVAL, {**RETRIEVAL, "name": "again"}]},
        {"data": {"train": HOLD_OUT}, "evaluators": [RETRIEVAL]},
        {"data": {"train": HOLD_OUT, "eval": HOLD_OUT}, "evaluators": [RETRIEVAL]},
        {"data": BOTH, **arguments(eval_strategy="steps", eval_steps=10)},
        {"data": BOTH, **arguments(eval_strategy="no", eval_on_start=True)},
        arguments(eval_strategy="no"),
        arguments(max_steps=1, num_train_epochs=0),
        arguments(max_steps=-1, num_train_epochs=0.1),
        arguments(learning_rate=0),
        arguments(logging_steps=0.1, save_steps=1, eval_steps=0.5),
        arguments(logging_steps=2.0, save_steps=100.0),
        arguments(logging_strategy="no", logging_steps=0),
        arguments(warmup_steps=0, warmup_ratio=0.1),
        arguments(warmup_steps=10, warmup_ratio=0),
        arguments(warmup_steps=0.1),
        arguments(warmup_steps=10, warmup_ratio=0.1),
        arguments(include_tokens_per_second=True, include_num_input_tokens_seen=False),
        arguments(optim="adamw_torch_8bit", optim_args="block_size=128"),
        arguments(project="huggingface", trackio_space_id=None, ddp_broadcast_buffers=False, label_names=[]),
        arguments(resume_from_checkpoint=False),
        arguments(accelerator_config={"split_batches": "no"}),
        arguments(warmup_ratio=1),
        arguments(warmup_steps=-1, warmup_ratio=0.5),
        arguments(max_steps=0),
        arguments(report_to="mlflow"),
        arguments(report_to="all"),
        arguments(neftune_noise_alpha=5),
        arguments(bf16=True, bf16_full_eval=True, use_cpu=True),
        arguments(fp16=True, fp16_full_eval=True),
        arguments(dataloader_num_workers=1, dataloader_persistent_workers=True, dataloader_prefetch_factor=2),
        {"data": BOTH, **arguments(**BEST, save_strategy="epoch")},
        {"data": BOTH, **arguments(**BEST, save_strategy="best")},
        {"data": BOTH, **arguments(**BEST, eval_strategy="steps", save_steps=20, eval_steps=10)},
        {"data": BOTH, **arguments(**BEST, eval_strategy="steps", save_steps=50, logging_steps=25)},
        {"data": BOTH, **arguments(**BEST, eval_strategy="steps", save_steps=0.5, eval_steps=0.25)},
        arguments(report_to="tensorboard"),
        arguments(report_to=["tensorboard", "wandb"]),
        arguments(report_to="none"),
        {"launch": {"nodes": 1, "processes_per_node": 4}},
        {"tracking": {"uri": "http://tracker:5000"}},
        {"tracking": {"uri": "http://user@tracker:5000/path:a@b"}},
        {"tracking": {"uri": "sqlite:////folder/a:b@c.db"}},
        {"data": {"train": {"docs": {"path": "s3://bucket/a:b@c.parquet", "columns": COLUMNS}}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_good_request_has_no_problem(sections: dict[str, Any]) -> None:
    assert problems_of(**sections) == []


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        (
            {"data": {"train": {**DOCS, **MORE}}, "loss": {"docs": "cosent"}},
            "loss.more: is missing: data.train has a dataset 'more', and each needs a loss",
        ),
        (
            {"loss": {"docs": "cosent", "more": "cosent"}},
            "loss.more: belongs to no dataset; data.train has docs",
        ),
        (
            {"data": {"train": DOCS, "eval": {**DOCS, **MORE}}},
            "data.eval.more: is not used: name it in an evaluator, or give it the name of a train dataset "
            "for its loss (docs)",
        ),
        (
            {"data": BOTH, "evaluators": [RETRIEVAL, RETRIEVAL]},
            "evaluators.1.name: 'docs' is used twice; give each evaluator its own name",
        ),
        (
            {"data": BOTH, "evaluators": [{**RETRIEVAL, "dataset": "docz"}]},
            "evaluators.0.dataset: 'docz' is not in data.eval (docs)",
        ),
        ({"evaluators": [RETRIEVAL]}, "evaluators.0.dataset: 'docs' is not in data.eval (none)"),
        (
            {"data": {"train": HOLD_OUT, "eval": DOCS}},
            "data.eval.docs: is there already, and data.train.docs.hold_out makes a dataset of that name; rename it, "
            "or remove one of the two",
        ),
        (
            {"data": {"train": HOLD_OUT, "eval": {"docs": {**DOCS["docs"], "hold_out": {"share": 0.2}}}}},
            "data.eval.docs.hold_out: holds out other rows than data.train.docs.hold_out; write the same, or remove it",
        ),
        (
            {"data": {"train": DOCS, "test": HOLD_OUT}, **arguments(do_predict=True)},
            "data.test.docs.hold_out: is for data.train, whose held-out rows become data.eval; remove it",
        ),
        (
            {"data": {"train": HOLD_OUT}, **arguments(eval_strategy="no")},
            "arguments.eval_strategy: is no, so hold_out is never used; write epoch or steps, or remove hold_out",
        ),
        (
            {"data": BOTH, **arguments(eval_strategy="no")},
            "arguments.eval_strategy: is no, so data.eval is never used; write epoch or steps, or remove data.eval",
        ),
        (
            arguments(eval_strategy="epoch"),
            "arguments.eval_strategy: is epoch, but there is nothing under data.eval",
        ),
        (
            arguments(per_device_train_batch_size=0),
            "arguments.per_device_train_batch_size: must be 1 or more, not 0",
        ),
        (
            arguments(per_device_eval_batch_size=-4),
            "arguments.per_device_eval_batch_size: must be 1 or more, not -4",
        ),
        (
            arguments(gradient_accumulation_steps=0),
            "arguments.gradient_accumulation_steps: must be 1 or more, not 0",
        ),
        (arguments(num_train_epochs=0), "arguments.num_train_epochs: must be more than 0, not 0"),
        (arguments(num_train_epochs=-1.5), "arguments.num_train_epochs: must be more than 0, not -1.5"),
        (arguments(learning_rate=-1e-5), "arguments.learning_rate: must be 0 or more, not -1e-05"),
        (
            arguments(logging_steps=-1),
            "arguments.logging_steps: must be an integer number of steps or a share below 1, not -1",
        ),
        (
            arguments(save_steps=1.5),
            "arguments.save_steps: must be an integer number of steps or a share below 1, not 1.5",
        ),
        (
            arguments(eval_steps=-0.5),
            "arguments.eval_steps: must be an integer number of steps or a share below 1, not -0.5",
        ),
        (arguments(logging_steps=0), "arguments.logging_steps: is 0; write logging_strategy: no to log nothing"),
        *[
            (
                arguments(warmup_steps=steps),
                f"arguments.warmup_steps: must be an integer number of steps or a share below 1, not {steps:g}",
            )
            for steps in (7.5, 1.5, 100.25)
        ],
        *[
            (
                arguments(learning_rate_mapping={pattern: 1e-3}),
                f"arguments.learning_rate_mapping.{pattern}: is not a regular expression: {reason}",
            )
            for pattern, reason in (
                ("(", "missing ), unterminated subpattern at position 0"),
                ("*bias", "nothing to repeat at position 0"),
                ("[a-", "unterminated character set at position 0"),
            )
        ],
        (arguments(warmup_ratio=1.5), "arguments.warmup_ratio: must be a share from 0 to 1, not 1.5"),
        (
            arguments(warmup_ratio=-0.1),
            "arguments.warmup_ratio: must be a share from 0 to 1, not -0.1",
        ),
        (arguments(fp16=True, bf16=True), "arguments.fp16: and bf16 are both true; keep one"),
        (
            arguments(fp16_full_eval=True, bf16_full_eval=True),
            "arguments.fp16_full_eval: and bf16_full_eval are both true; keep one",
        ),
        (
            arguments(fp16=True, use_cpu=True),
            "arguments.fp16: does nothing on a CPU; write bf16, or remove use_cpu",
        ),
        (
            arguments(dataloader_persistent_workers=True),
            "arguments.dataloader_persistent_workers: needs dataloader_num_workers of 1 or more",
        ),
        (
            arguments(dataloader_prefetch_factor=2),
            "arguments.dataloader_prefetch_factor: needs dataloader_num_workers of 1 or more",
        ),
        (
            arguments(**BEST, save_strategy="epoch"),
            "arguments.load_best_model_at_end: needs something to evaluate with under data.eval",
        ),
        *[
            (
                {"data": BOTH, "early_stopping": {"patience": 3}, **arguments(eval_strategy="epoch", **given)},
                "arguments.load_best_model_at_end: is missing: early_stopping ends after the best checkpoint; write "
                "true, with evaluations",
            )
            for given in ({}, {"save_strategy": "epoch"}, {"metric_for_best_model": "loss"})
        ],
        (
            {"data": BOTH, **arguments(**BEST)},
            "arguments.save_strategy: is steps and eval_strategy is epoch; the best model needs both to be the same",
        ),
        (
            {"data": BOTH, **arguments(**BEST, eval_strategy="steps", save_strategy="epoch")},
            "arguments.save_strategy: is epoch and eval_strategy is steps; the best model needs both to be the same",
        ),
        (
            {"data": BOTH, **arguments(**BEST, eval_strategy="steps", save_steps=0.5, eval_steps=10)},
            "arguments.save_steps: and eval_steps must both be steps or both be shares to find the best model",
        ),
        (
            {"data": BOTH, **arguments(**BEST, eval_strategy="steps", save_steps=25, eval_steps=10)},
            "arguments.save_steps: 25 is not a multiple of eval_steps 10",
        ),
        (
            {"data": BOTH, **arguments(**BEST, eval_strategy="steps", save_steps=0.5, eval_steps=0.3)},
            "arguments.save_steps: 0.5 is not a multiple of eval_steps 0.3",
        ),
        (
            {"data": BOTH, **arguments(**BEST, eval_strategy="steps", save_steps=25, logging_steps=10)},
            "arguments.save_steps: 25 is not a multiple of eval_steps 10",
        ),
        (
            {"tracking": {"kind": "none"}, **arguments(report_to=["tensorboard", "azure_ml"])},
            "arguments.report_to: names azure_ml, and tracking.kind is none; write tracking.kind: mlflow",
        ),
        (
            arguments(report_to=["tensorboard", "all"]),
            "arguments.report_to: all cannot be combined with other trackers",
        ),
        (
            {"tracking": {"uri": "https://user:planted@tracker:5000"}},
            "tracking.uri: contains a password, token or signature; pass it by an "
            "environment variable instead",
        ),
        (
            {"tracking": {"uri": "redis://:planted@tracker"}},
            "tracking.uri: contains a password, token or signature; pass it by an "
            "environment variable instead",
        ),
        (
            {"data": {"train": {"docs": {"path": ["a.csv", "SFTP://u:planted@host/b.csv"], "columns": COLUMNS}}}},
            "data.train.docs.path.1: contains a password, token or signature; pass it by an "
            "environment variable instead",
        ),
        *MEANINGLESS,
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_bad_request_is_refused_with_what_would_be_right(sections: dict[str, Any], problem: str) -> None:
    assert problems_of(**sections) == [problem]


def test_a_password_in_the_path_of_eval_data_is_found_and_not_repeated() -> None:
    docs = {"docs": {"path": "sftp://user:planted@host/a.csv", "columns": COLUMNS}}
    (problem,) = problems_of(data={"train": DOCS, "eval": docs})
    assert problem.startswith("data.eval.docs.path.0: ")
    assert "planted" not in problem


def test_the_default_strategy_is_not_taken_for_the_person_s() -> None:
    # `no` is the installed default, over which embedstep writes `epoch`; only a written `no` is a contradiction.
    assert problems_of(data=BOTH) == []
    assert len(problems_of(data=BOTH, **arguments(eval_strategy="no"))) == 1


def test_all_problems_come_at_once() -> None:
    found = problems_of(
        data={"train": DOCS, "eval": MORE},
        loss={"other": "cosent"},
        evaluators=[RETRIEVAL],
        launch={"nodes": 3},
        tracking={"uri": "http://a:b@c"},
        **arguments(
            use_liger_kernel=True, per_device_train_batch_size=0, per_device_eval_batch_size=0, fp16=True,
            bf16=True, dataloader_persistent_workers=True, report_to=["mlflow", "none"], warmup_ratio=2,
            eval_strategy="no",
        ),
    )  # fmt: skip
    assert [problem.partition(":")[0] for problem in found] == [
        "arguments.use_liger_kernel",
        "arguments.per_device_train_batch_size",
        "arguments.per_device_eval_batch_size",
        "arguments.warmup_ratio",
        "arguments.fp16",
        "arguments.dataloader_persistent_workers",
        "loss.docs",
        "loss.other",
        "data.eval.more",
        "evaluators.0.dataset",
        "arguments.eval_strategy",
        "arguments.report_to",
        "tracking.uri",
    ]


@pytest.mark.parametrize(
    ("source", "field"), [({"path": ["a.csv", "{as_of}/b.csv"]}, "path"), ({"sql": "select '{as_of}' as day"}, "sql")]
)
def test_a_source_with_a_placeholder_needs_the_time(source: dict[str, Any], field: str) -> None:
    data = {"train": {"docs": {**source, "columns": COLUMNS}}}
    assert problems_of(data=data) == [f"data.train.docs.{field}: contains {{as_of}}; write data.as_of: 2026-11-02"]
    assert problems_of(data={**data, "as_of": "2026-11-02"}) == []
