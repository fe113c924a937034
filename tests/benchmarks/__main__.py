"""`python -m tests.benchmarks [NAME ...] [--quick]`, which `make bench` runs."""

import sys
from collections.abc import Mapping

from tests.benchmarks import (
    clustered,
    command_line,
    deciding,
    first_step,
    grouping,
    orchestrated,
    overhead,
    peers,
    samplers,
    saving,
    sharded,
    small_steps,
    tokenizing,
    tracking,
)
from tests.benchmarks.harness import Benchmark, main

BENCHMARKS: Mapping[str, Benchmark] = {
    "check": command_line.check,
    "plan": command_line.plan,
    "run_overhead_1": overhead.run_overhead_1,
    "run_overhead_2": overhead.run_overhead_2,
    "lora": overhead.lora,
    "small_steps": small_steps.small_steps,
    "first_step_100k": first_step.first_step_100k,
    "first_step_1m": first_step.first_step_1m,
    "first_step_5m": first_step.first_step_5m,
    "first_step_100k_again": first_step.first_step_100k_again,
    "first_step_1m_again": first_step.first_step_1m_again,
    "plan_by_facts": sharded.plan_by_facts,
    "write_facts": sharded.write_facts,
    "tokenize_once_3": tokenizing.tokenize_once_3,
    "tokenize_once_3_again": tokenizing.tokenize_once_3_again,
    "tokenize_once_10": tokenizing.tokenize_once_10,
    "tokenize_once_minilm": tokenizing.tokenize_once_minilm,
    "group_by_length": grouping.group_by_length,
    "sampler_repeats": samplers.repeats,
    "sampler_few": samplers.few_answers,
    "sampler_frequent": samplers.frequent_answers,
    "resuming": samplers.resuming,
    "checkpoints": saving.checkpoints,
    "lost_rank": peers.lost_rank,
    "lost_host": peers.lost_host,
    "bootstrap": deciding.bootstrap,
    "report": deciding.report,
    "tracking": tracking.tracking,
    "compile": clustered.compiling,
    "container": clustered.container,
    "log": clustered.log,
    "zenml_step": orchestrated.zenml,
    "airflow_task": orchestrated.airflow,
    "dag_parse": orchestrated.parsing,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], BENCHMARKS))
