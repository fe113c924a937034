"""The arithmetic, the table and the file of the benchmarks; the times themselves are no test."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.benchmarks import gpu
from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.harness import Benchmark, BenchmarkError, Record, main, measure, recorded
from tests.benchmarks.overhead import parts_of

KEYS = ["name", "compares", "ours", "other", "ratio", "bound", "repeats", "parts"]


def record_of(name: str, ratio: float = 0.5, parts: Mapping[str, float] = MappingProxyType({})) -> Record:
    return Record(
        name=name, compares="one / other", ours=ratio, other=1.0, ratio=ratio, bound=1.0, repeats=3, parts=dict(parts)
    )


def fixed(record: Record) -> Benchmark:
    return lambda quick: record


def side(name: str, seconds: Iterator[float], calls: list[str]) -> Callable[[], float]:
    def run() -> float:
        calls.append(name)
        return next(seconds)

    return run


def test_the_ratio_is_the_median_of_the_ratios_of_the_repeats() -> None:
    # Ratios 2, 0.5 and 1.5; the ratio of the medians would be 4 / 4 = 1.
    calls: list[str] = []
    ours, other = side("ours", iter([4.0, 2.0, 12.0]), calls), side("other", iter([2.0, 4.0, 8.0]), calls)
    record = measure("x", "one / other", ours, other, 1.4, 3)
    assert (record.ours, record.other, record.ratio, record.repeats) == (4.0, 4.0, 1.5, 3)
    assert not record.is_within


def test_the_sides_take_turns_in_going_first() -> None:
    calls: list[str] = []
    measure("x", "", side("A", iter([1.0] * 3), calls), side("B", iter([1.0] * 3), calls), 1.0, 3)
    assert "".join(calls) == "ABBAAB"


def test_a_side_without_seconds_of_its_own_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 13.0, 20.0, 26.0])
    monkeypatch.setattr("tests.benchmarks.harness.time.perf_counter", lambda: next(ticks))
    record = measure("x", "", lambda: None, lambda: None, 1.0, 1)
    assert (record.ours, record.other, record.ratio) == (3.0, 6.0, 0.5)


def test_a_ratio_on_the_bound_is_within() -> None:
    assert record_of("x", 1.0).is_within


def test_the_table_is_aligned_and_says_what_missed_its_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks = {"fast": fixed(record_of("fast", 0.25, {"start": 0.125})), "slow": fixed(record_of("slow", 1.5))}
    assert main([], benchmarks, tmp_path / "bench.json") == 0
    header, fast, part, slow = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "compares", "ours", "other", "ratio", "bound", "within", "repeats"]
    assert fast.split() == ["fast", "one", "/", "other", "0.250", "1.000", "0.250", "1", "yes", "3"]
    assert part.startswith("    ")
    assert part.split() == ["start", "0.125"]
    assert slow.split()[-2:] == ["no", "3"]
    assert len(header) == len(fast) == len(slow)


def test_the_file_is_a_list_of_records_with_exactly_these_keys(tmp_path: Path) -> None:
    output = tmp_path / "build" / "bench.json"
    main([], {"x": fixed(record_of("x", 1 / 3, {"part": 2 / 3}))}, output)
    (item,) = json.loads(output.read_text())
    assert list(item) == KEYS
    assert (item["ratio"], item["parts"]) == (0.3333, {"part": 0.6667})


def test_one_benchmark_leaves_the_records_of_the_others(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    main([], {"x": fixed(record_of("x")), "y": fixed(record_of("y"))}, output)
    main(["y"], {"x": fixed(record_of("x", 9.0)), "y": fixed(record_of("y", 0.75))}, output)
    assert {name: record.ratio for name, record in recorded(output).items()} == {"x": 0.5, "y": 0.75}


def test_a_record_of_a_benchmark_that_is_gone_goes_too(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    main([], {"gone": fixed(record_of("gone"))}, output)
    main([], {"x": fixed(record_of("x"))}, output)
    assert list(recorded(output)) == ["x"]


def test_an_unknown_name_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks = {"x": fixed(record_of("x")), "y": fixed(record_of("y"))}
    assert main(["x", "z"], benchmarks, tmp_path / "bench.json") == 2
    assert capsys.readouterr().err == "no benchmark is named z; there are x, y\n"
    assert not list(tmp_path.iterdir())


def test_a_side_that_fails_is_said_and_the_others_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(quick: bool) -> Record:
        raise BenchmarkError("exit code 3")

    output = tmp_path / "bench.json"
    assert main([], {"broken": broken, "x": fixed(record_of("x"))}, output) == 1
    assert capsys.readouterr().err == "broken failed: exit code 3\n"
    assert list(recorded(output)) == ["x"]


def test_the_parts_of_both_sides_are_medians() -> None:
    ours = [{"total": 5.0, "save": 3.0}, {"total": 7.0, "save": 2.0}, {"total": 6.0, "save": 4.0}]
    plain = [{"total": 4.0, "save": 1.0}]
    assert parts_of(ours, plain, same_weights=True) == {
        "ours: total": 6.0,
        "ours: save": 3.0,
        "script: total": 4.0,
        "script: save": 1.0,
        "verification": 2.0,
        "same_weights": 1.0,
    }


def test_every_benchmark_is_there() -> None:
    assert set(BENCHMARKS) == {
        "plan", "check", "run_overhead_1", "run_overhead_2", "sampler_repeats", "sampler_few", "sampler_frequent",
        "resuming", "checkpoints", "lost_rank", "lost_host", "tracking", "bootstrap", "report", "compile",
        "container", "log", "zenml_step", "airflow_task", "dag_parse",
        "tokenize_once_3", "tokenize_once_3_again", "tokenize_once_10", "tokenize_once_minilm", "group_by_length",
        "small_steps", "lora", "plan_by_facts", "write_facts",
        "first_step_100k", "first_step_1m", "first_step_5m", "first_step_100k_again", "first_step_1m_again",
    }  # fmt: skip


def test_without_a_gpu_its_benchmarks_are_counted_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([], missing="no GPU is visible") == 0
    assert capsys.readouterr().out.splitlines() == [
        "minilm skipped: no GPU is visible", "minilm_by_length skipped: no GPU is visible",
        "encoder skipped: no GPU is visible", "encoder_by_length skipped: no GPU is visible", "4 skipped",
    ]  # fmt: skip


def test_check_is_measured_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The pairs and the file go below the current folder, and a quick run must not replace what a real one has found.
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--quick"], BENCHMARKS) == 0
    record = recorded(tmp_path / "build" / "bench.json")["check"]
    assert record.repeats == 1
    assert 0 < record.ours < record.other
