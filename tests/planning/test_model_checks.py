"""Every problem of a model that its files show, without torch."""

from pathlib import Path
from typing import Any

import pytest

from embedstep.planning.model_checks import check_model, trained_precision
from embedstep.planning.model_notes import explain_model
from embedstep.request.model import Model
from tests.model_files import CONFIG, TENSORS, write_model
from tests.planning.test_checks import SOURCE, request

IN_BF16 = {name: ("BF16", shape) for name, (_, shape) in TENSORS.items()}
HEAD = {**CONFIG, "architectures": ["BertForSequenceClassification"]}
MATRYOSHKA = {"kind": "matryoshka", "loss": "cosent", "options": {"matryoshka_dims": [16, 8, 9]}}


@pytest.mark.parametrize(
    ("files", "sections", "problem"),
    [
        ({"modules": None, "config": HEAD}, {}, "model.path: is a cross-encoder, which scores pairs of texts"),
        ({"settings": {"model_type": "SparseEncoder"}}, {}, "model.path: is a sparse encoder"),
        ({"settings": {"model_type": "MultiVectorEncoder"}}, {}, "model.path: is a multi-vector encoder (ColBERT)"),
        ({}, {"max_seq_length": 65}, "model.max_seq_length: is 65, and the model has positions for 64 tokens"),
        ({"limit": 512}, {}, "model.max_seq_length: is 512 in the model's files, which have positions for 64 tokens; "
         "write 64"),
        ({"config": {**CONFIG, "model_type": "xlm-roberta", "pad_token_id": 1}}, {"max_seq_length": 64},
         "model.max_seq_length: is 64, and the model has positions for 62 tokens"),
        ({"vocabulary": 101}, {}, "model.path: has a tokenizer with ids up to 100, and vectors for 100 tokens"),
        ({"tokenizer": {"eos_token": "t1"}}, {}, "model.path: has a tokenizer without a token to pad with"),
        ({}, {"truncate_dim": 9}, "model.truncate_dim: is 9, and embeddings have 8 dimensions"),
        ({}, {"default_prompt_name": "query"}, "model.default_prompt_name: 'query' is not a prompt of the model; "
         "known are none"),
        ({"settings": {"prompts": {"query": "q: "}}}, {"default_prompt_name": "qury"}, "did you mean query?"),
        ({}, {"model_kwargs": {"dtype": "int8"}}, "model.model_kwargs.dtype: is 'int8'; known are auto, float32"),
        ({}, {"model_kwargs": {"dtype": "float32", "torch_dtype": "auto"}}, "torch_dtype: is the older name of dtype"),
        ({}, {"model_kwargs": {"attn_implementation": "flash_attention_2"}},
         "model.model_kwargs.attn_implementation: is flash_attention_2, which computes in bfloat16 or float16, and the "
         "weights are float32; write dtype: bfloat16 next to it, or sdpa in its place"),
        ({}, {"model_kwargs": {"token": "x"}}, "model.model_kwargs.token: has another place: pass the token as"),
        ({}, {"processor_kwargs": {"trust_remote_code": True}}, "has another place: write model.trust_remote_code"),
        ({}, {"config_kwargs": {"revision": "main"}}, "has another place: write model.revision"),
    ],
)  # fmt: skip
def test_each_problem(tmp_path: Path, files: dict[str, Any], sections: dict[str, Any], problem: str) -> None:
    folder = write_model(tmp_path / "model", **files)
    found = [str(each) for each in check_model(request(model={"path": str(folder), **sections}))]
    assert len(found) == 1
    assert problem in found[0]


def test_all_are_reported_at_once(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", vocabulary=200, limit=512, tokenizer={"eos_token": "t1"})
    asked = request(model={"path": str(folder), "truncate_dim": 9}, loss=MATRYOSHKA)
    paths = [problem.path for problem in check_model(asked)]
    assert paths == [
        "model.max_seq_length", "model.path", "model.path", "model.truncate_dim", "loss.options.matryoshka_dims",
    ]  # fmt: skip


def test_a_model_without_problems(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", settings={"prompts": {"query": "q: "}})
    section = {
        "path": str(folder), "max_seq_length": 64, "truncate_dim": 8, "default_prompt_name": "query",
        "model_kwargs": {"torch_dtype": "bfloat16", "attn_implementation": "eager"},
        "processor_kwargs": {"model_max_length": 64},
    }  # fmt: skip
    assert list(check_model(request(model=section))) == []


def test_flash_attention_computes_in_the_precision_of_a_base_in_bfloat16(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", tensors=IN_BF16, config={**CONFIG, "dtype": "bfloat16"})
    for path in (str(folder), "org/on-the-hub"):
        section = {"path": path, "model_kwargs": {"attn_implementation": "flash_attention_2", "dtype": "auto"}}
        assert list(check_model(request(model=section))) == []


def test_a_file_that_was_cut_off_is_a_problem(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text("{")
    (problem,) = check_model(request(model=str(folder)))
    assert problem.path == "model.path"
    assert "cannot be read" in problem.message


@pytest.mark.parametrize(
    ("stored", "asked", "precision", "notes"),
    [
        ("F32", {}, "float32", []),
        ("BF16", {}, "float32", ["are stored in bfloat16 and trained in float32"]),
        ("F16", {}, "float32", ["are stored in float16 and trained in float32"]),
        ("BF16", {"dtype": "auto"}, "bfloat16", ["trained in bfloat16, where an update of less than 1/256"]),
        ("F32", {"dtype": "torch.float16"}, "float16",
         ["are stored in float32 and trained in float16", "trained in float16, where an update of less than 1/2048"]),
    ],
)  # fmt: skip
def test_the_precision_of_the_weights(
    tmp_path: Path, stored: str, asked: dict[str, Any], precision: str, notes: list[str]
) -> None:
    tensors = {name: (stored, shape) for name, (_, shape) in TENSORS.items()}
    section = Model(path=str(write_model(tmp_path, tensors=tensors)), model_kwargs=asked)
    facts = facts_of(section)
    assert trained_precision(section, facts) == precision
    found = list(explain_model(section, facts))
    assert len(found) == len(notes)
    assert all(note in text for note, text in zip(notes, found, strict=True))


def facts_of(section: Model) -> Any:
    from embedstep.data.model_facts import read_model_facts

    return read_model_facts(Path(str(section.path)))


TSDAE = {"kind": "denoising_auto_encoder", "options": {}}
DECODER = "loss.options.decoder_name_or_path"
ADVICE = "name a model such as BERT or GPT-2 whose hidden size is that of the model, with tie_encoder_decoder: false"


@pytest.mark.parametrize(
    ("architecture", "decoder", "problem"),
    [
        ("ModernBertModel", None, f"{DECODER}: is missing: transformers has no decoder for ModernBertModel; {ADVICE}"),
        ("MPNetModel", None, f"{DECODER}: is missing: transformers has no decoder for MPNetModel; {ADVICE}"),
        ("DistilBertForMaskedLM", None,
         f"{DECODER}: is missing: transformers has no decoder for DistilBertForMaskedLM; {ADVICE}"),
        ("ModernBertModel", "BertModel", ""),
        ("BertModel", "AlbertModel", f"{DECODER}: transformers has no decoder for AlbertModel; {ADVICE}"),
        ("BertModel", None, ""),
        ("XLMRobertaForMaskedLM", None, ""),
        ("ModernBertModel", "GPT2LMHeadModel", ""),
    ],
)  # fmt: skip
def test_an_auto_encoder_needs_a_decoder(tmp_path: Path, architecture: str, decoder: str | None, problem: str) -> None:
    folder = write_model(tmp_path / "model", config={**CONFIG, "architectures": [architecture]})
    options = {}
    if decoder:
        named = write_model(tmp_path / "decoder", config={**CONFIG, "architectures": [decoder]})
        options = {"decoder_name_or_path": str(named), "tie_encoder_decoder": False}
    asked = request(model={"path": str(folder)}, loss={**TSDAE, "options": options})
    assert [str(each) for each in check_model(asked)] == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("pattern", "datasets", "matches"),
    [
        ("layer.0", 1, True), (r"^model\.0\.model\.embeddings", 1, True), (r"^docs\.model\.0", 2, True),
        ("auto_model", 1, False), ("layer.1", 1, False), (r"^0\.model", 1, False), ("^more", 2, False),
    ],
)  # fmt: skip
def test_a_pattern_of_rates_matches_a_parameter(tmp_path: Path, pattern: str, datasets: int, matches: bool) -> None:
    folder = write_model(tmp_path / "model")
    train = {name: SOURCE["docs"] for name in ("docs", "more")[:datasets]}
    given = {"model": {"path": str(folder)}, "data": {"train": train}}
    rates = {"learning_rate_mapping": {pattern: 1e-3, "weight": 1e-4}}
    start = "docs.model" if datasets == 2 else "model"
    message = f"matches no parameter; names are such as {start}.0.model.embeddings.word_embeddings.weight"
    found = [str(each) for each in check_model(request(**given, arguments=rates))]
    assert found == ([] if matches else [f"arguments.learning_rate_mapping.{pattern}: {message}"])
    own_layers = {"kind": "softmax", "options": {"num_labels": 2}}
    assert list(check_model(request(**given, arguments=rates, loss=own_layers))) == []


@pytest.mark.parametrize(("field", "value"), [("layers", {"keep": [0]}), ("freeze", ["embeddings"])])
def test_a_tied_decoder_undoes_what_is_changed_in_the_model(tmp_path: Path, field: str, value: Any) -> None:
    folder = write_model(tmp_path / "model")
    model = {"path": str(folder), field: value}
    message = "is undone by a tied decoder, whose weights become those of the model; write tie_encoder_decoder: false"
    assert [str(each) for each in check_model(request(model=model, loss=TSDAE))] == [
        f"model.{field}: {message} in loss.options"
    ]
    untied = {"tie_encoder_decoder": False, "decoder_name_or_path": str(folder)}
    assert list(check_model(request(model=model, loss={**TSDAE, "options": untied}))) == []
