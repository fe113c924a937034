"""`python -m tests.benchmarks [NAME ...] [--quick]`, which `make bench` runs."""

import sys
from collections.abc import Mapping

from tests.benchmarks import front_door, overhead, samplers
from tests.benchmarks.harness import Benchmark, main

BENCHMARKS: Mapping[str, Benchmark] = {
    "check": front_door.check,
    "plan": front_door.plan,
    "run_overhead_1": overhead.run_overhead_1,
    "run_overhead_2": overhead.run_overhead_2,
    "sampler_repeats": samplers.repeats,
    "sampler_few": samplers.few_answers,
    "sampler_frequent": samplers.frequent_answers,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], BENCHMARKS))
