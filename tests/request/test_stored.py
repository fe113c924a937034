import json
from pathlib import Path

from embedstep.request.loading import load_request
from embedstep.request.stored import request_from_json, request_to_json

REQUEST = """
model: sentence-transformers/all-MiniLM-L6-v2
data:
  train: {docs: {path: pairs.parquet, columns: {anchor: question, positive: answer}}}
  eval: {docs: {path: held_out.parquet, columns: {anchor: question, positive: answer}}}
loss: multiple_negatives_ranking
evaluators: [{kind: information_retrieval, name: docs, dataset: docs}]
arguments: {evaluation_strategy: epoch, num_train_epochs: 2, learning_rate: 2e-5}
launch: {nodes: 2, join_timeout_minutes: 5}
promotion: {slices: language, max_slice_loss: 0.01, index_size: 250000}
"""
STORED_BY_0_1_0 = Path(__file__).parent / "request_0_1_0.json"


def test_a_stored_request_reads_back_equal() -> None:
    request = load_request(REQUEST)
    stored = json.loads(json.dumps(request_to_json(request)))
    assert request_from_json(stored) == request


def test_a_request_that_0_1_0_stored_is_read() -> None:
    """The file was written by 0.1.0, from this request under the former names of its fields."""
    stored = json.loads(STORED_BY_0_1_0.read_text(encoding="utf-8"))
    assert {"meeting_minutes", "slice_loss", "documents"} <= stored["request"]["launch"].keys() | stored["request"][
        "promotion"
    ].keys()
    assert request_from_json(stored) == load_request(REQUEST)
