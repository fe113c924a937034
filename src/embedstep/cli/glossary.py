"""The terms of embedstep: of requests, plans and results, in code, commands, messages and documents.

`docs/glossary.md` is generated from this table, and `embedstep explain` prints it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """One term, or a few that explain each other.

    Attributes:
        names: the terms, separated by commas.
        meaning: what they mean, without a full stop; code is in backticks.
        code: their names in requests, results and code, separated by commas.
        page: page of `docs` with more.
    """

    names: str
    meaning: str
    code: str = ""
    page: str = ""


GLOSSARY: Mapping[str, tuple[Term, ...]] = {
    "The request": (
        Term(
            "request",
            "the document that declares a training: model, data, loss, arguments, and where it runs",
            code="TrainRequest",
        ),
        Term("data", "the datasets of a request: those for training, evaluation and a final test", code="data"),
        Term("section", "a named part of the request", code="request.launch"),
        Term(
            "fingerprint",
            "the SHA-256 of the request with all defaults; equal requests have equal fingerprints",
            code="request_fingerprint",
        ),
        Term(
            "plan",
            "what a request will do, worked out without training: rows, batches, train steps, evaluations",
            code="plan_step",
        ),
        Term(
            "training argument",
            "a field of `SentenceTransformerTrainingArguments`, of today or of sentence-transformers 3.0",
            code="request.arguments",
        ),
        Term("support", "what embedstep does with a training argument: used, translated, implemented here, or refused"),
        Term("ledger", "the list of all training arguments of a run, with their value and effect"),
    ),
    "Data and batches": (
        Term("row, column", "one example; one of its fields", code="num_rows"),
        Term(
            "anchor, positive, negative",
            "the texts of a row in a contrastive loss; the loss gets them in this order",
            code="columns",
        ),
        Term("label", "a row's number or class, for losses that learn from one", code="columns.label"),
        Term(
            "shard",
            "one of the files of a dataset of which each node reads a share (`data.read: per_node`)",
            code="shard_facts",
        ),
        Term(
            "facts",
            "what is known of a dataset or a file without its texts: counts, columns, labels, hashes, lengths",
            code="DatasetFacts, embedstep facts",
        ),
        Term(
            "held-out rows",
            "rows that are evaluated and not trained on: those of `data.eval`, and what `hold_out` keeps out",
            code="hold_out",
        ),
        Term(
            "in-batch negatives",
            "the positives of the other rows in a per-device batch; gradient accumulation adds none",
        ),
        Term(
            "hard negatives",
            "negatives that are close to the anchor, mined with a model",
            code="mine_negatives",
            page="mining.md",
        ),
        Term("per-device batch", "the rows of one rank in one forward pass", code="per_device_train_batch_size"),
        Term("global batch", "the rows of one train step: per-device batch times ranks times gradient accumulation"),
        Term("sampler", "chooses the rows of each batch", code="batch_sampler"),
        Term("order", "the permutation of the rows in one epoch, a function of seed and epoch"),
        Term("epoch", "one pass over the rows, counted from 0", code="num_train_epochs"),
        Term("train step", 'one optimizer step; never just "step"', code="max_steps"),
    ),
    "What `embedstep plan` shows": (
        Term("dataset", "the rows under one name of `data.train`, `data.eval` or `data.test`", code="data.train.NAME"),
        Term("rows", "in a table, how many complete rows a dataset has", code="rows"),
        Term("dropped", "rows that are left out because a cell is empty", code="drop_incomplete_rows"),
        Term("columns", "in a table, the roles of the texts that the loss gets, in its order"),
        Term("loss", "the function of a batch that the training minimizes", code="loss.kind", page="losses.md"),
        Term("batches", "in a table, how many batches of a dataset an epoch has, over all processes"),
        Term("batch share", "the share of all training batches of an epoch that are of this dataset"),
        Term(
            "unreached",
            "rows that are in no batch of an epoch; the next epoch has another order and leaves out others",
            code="rows_unreached",
        ),
        Term(
            "negatives",
            "in a table, how many in-batch negatives the loss compares each anchor with",
            code="negatives_per_anchor",
        ),
        Term(
            "modules",
            "the parts of the model, in the order in which a text passes through them",
            code="model.modules",
            page="models.md",
        ),
        Term("parameters", "how many weights the model has, their precision, and how many of them train"),
        Term(
            "adapter",
            "the small set of weights that trains in place of the model's own",
            code="model.peft",
            page="models.md",
        ),
        Term(
            "memory",
            "what the weights, their gradients and the optimizer need in each process, without the texts of a batch",
            code="memory_bytes",
        ),
        Term("attention", "which implementation of attention the model runs with", code="model.model_kwargs"),
        Term(
            "pooling",
            "how the vectors of a text's tokens become one vector: their mean, the first or the last token",
            code="model.pooling",
        ),
        Term("longest text", "the number of tokens after which the model cuts a text off", code="max_seq_length"),
        Term("dimensions", "how many numbers an embedding has", code="dimension"),
        Term("prompts", "texts that are put before each text, by the name of the prompt", code="arguments.prompts"),
        Term("processes", "how many processes train together, each of them one rank", code="launch.processes_per_node"),
        Term("forming batches", "how long it takes to choose the rows of an epoch's batches", code="sampling_seconds"),
        Term(
            "warm-up",
            "the train steps in which the learning rate rises from 0 to its highest value",
            code="warmup_steps",
        ),
        Term(
            "evaluations",
            "after how many and which train steps the model is evaluated; 0 is before the first",
            code="eval_strategy",
        ),
        Term(
            "checkpoints",
            "in a plan, after how many and which train steps a checkpoint is written",
            code="save_strategy",
        ),
        Term("columns left out", "columns of the files that have no role, and are not read", code="dropped_columns"),
        Term("cost", "what the run will need, estimated with `--estimate`", code="estimate"),
        Term(
            "argument, value",
            "a training argument that is not at its default; what it is set to",
            code="ledger",
            page="arguments.md",
        ),
        Term(
            "from",
            "who set the value: the request, a dump of older arguments, or embedstep for this run",
            code="source",
        ),
        Term(
            "what it does",
            "the effect of the argument in this run, where its name and value do not say it",
            code="effect",
        ),
        Term("metrics", "the names of the numbers that each evaluation gives"),
        Term("notes", "what is valid in the request and may surprise", code="notes"),
    ),
    "Processes": (
        Term("step", "one unit of a pipeline; here: one training from request to verified model", code="run_step"),
        Term("attempt", "one start of a step; a retry is the next attempt", code="attempts.json"),
        Term("node", "one machine", code="launch.nodes"),
        Term("rank", "one training process, counted over all nodes; `local_rank` counts on its node", code="World"),
        Term("world size", "the number of ranks", code="WORLD_SIZE"),
        Term("worker", "a process that torchrun starts, which is one rank", code="embedstep.worker"),
        Term("loader worker", "a process that prepares batches for a rank", code="dataloader_num_workers"),
        Term("rendezvous", "how the nodes find each other and agree on a start", code="launch.join_timeout_minutes"),
        Term("launcher", "the process that starts the ranks and waits for them, here or in a cluster"),
    ),
    "Outcomes": (
        Term(
            "checkpoint",
            "the state from which a training resumes: weights, optimizer, random states, position in the data",
            code="checkpoints/",
        ),
        Term("model", "the exported result, which has been loaded again and compared", code="model/"),
        Term("resume", "to continue from a checkpoint", code="resume"),
        Term("restart", "torchrun starts the ranks of the same attempt again", code="launch.max_restarts"),
        Term("retry", "an orchestrator makes a new attempt"),
        Term("result", "what a step leaves: exit code, metrics, digests", code="result.json"),
        Term("skip reason", "why a step trained nothing: `unchanged` or `superseded`", code="skip_reason"),
        Term("stop reason", "why a training ended before its last train step", code="stop_reason"),
        Term("evaluator", "a scorer of sentence-transformers that runs at each evaluation", code="evaluators"),
        Term(
            "embedding space",
            "the vectors of one model; those of another cannot be compared with them",
            code="embedding_space_id",
        ),
    ),
    "What a result shows": (
        Term("loss of an evaluation", "the mean loss of the eval rows; lower is better", code="eval_loss"),
        Term("runtime", "how many seconds an evaluation took", code="eval_runtime"),
        Term("samples per second", "the rows that an evaluation scores in a second", code="eval_samples_per_second"),
        Term("steps per second", "the batches that an evaluation scores in a second", code="eval_steps_per_second"),
        Term("accuracy@k", "the share of queries with a matching document among the first k", code="accuracy@1"),
        Term(
            "ndcg@k",
            "how high the matching documents of a query stand among the first k, from 0 to 1 (best)",
            code="ndcg@10",
        ),
        Term(
            "mrr@k",
            "the mean of 1 / rank of the first matching document, 0 if it is not among the first k",
            code="mrr@10",
        ),
        Term("map@k", "the precision at each matching document among the first k, averaged", code="map@100"),
        Term(
            "precision@k, recall@k",
            "the share of the first k documents that match; the share of the matching documents among the first k",
            code="recall@10",
        ),
        Term("pearson, spearman", "the correlation of similarities with labels; that of their order"),
        Term("base model", "the model from which a training starts; it is evaluated once", code="evaluate_base"),
        Term(
            "before, after, change",
            "a metric of the base model and of the trained one on the same rows, and the difference",
            code="changes",
        ),
        Term(
            "provenance",
            "what a published model was trained from: request, digests of rows and base, versions, metrics",
            code="embedstep.json",
        ),
        Term(
            "moved",
            "how far the model is from its base: share of changed weights, size of the change, mean cosine of texts",
            code="movement",
        ),
        Term("MLflow run", "the id of the run in MLflow", code="run_id"),
        Term("MLflow page", "the command that shows the run in a browser"),
        Term("recorded in", "the folder or server with the records of the run", code="tracking_uri"),
        Term("seconds", "how long the step took, from its start to the verified model", code="seconds"),
        Term("GPU-hours", "the cost of all attempts on GPUs: hours times GPUs", code="cost"),
        Term("process-hours", "the cost of all attempts on a CPU: hours times processes", code="cost"),
        Term("lost", "the part of the cost that went into attempts without a model", code="lost_hours"),
        Term(
            "padding share",
            "the share of padding tokens in the batches, which cost time and teach nothing",
            code="padding_share",
        ),
        Term("duplicates", "rows with the same texts as an earlier row", code="duplicate_rows"),
        Term("overlapping", "rows whose anchor is both trained on and evaluated", code="overlapping_rows"),
        Term("split off", "rows that are moved from the training rows to the evaluation rows", code="split_off_rows"),
        Term("documents", "the different texts among which a search looks, or negatives are mined", code="index_size"),
        Term(
            "with negatives",
            "rows for which mining found enough negatives; the others are dropped",
            code="mined_rows",
        ),
        Term("negatives per row", "how many hard negatives mining gives each row", code="mining.negatives"),
    ),
    "Tracking and promotion": (
        Term("run", "an MLflow run, and nothing else", code="MLFLOW_RUN_ID"),
        Term("experiment", "MLflow's group of runs", code="tracking.experiment"),
        Term("parameter, metric, tag", "MLflow's three kinds of values; settings are never metrics"),
        Term("artifact", "a file or folder that an orchestrator or MLflow keeps"),
        Term("spool", "the records of a run on disk, from where a separate process sends them", code="tracking/"),
        Term("gate", "the comparison that decides whether a model is promoted", code="embedstep promote"),
        Term("verdict", "the gate's decision: `promote`, `hold` or `reject`", code="verdict.json"),
        Term(
            "champion, challenger",
            "the model in production; the candidate to replace it: aliases in MLflow's registry",
            code="tracking.register_as",
        ),
        Term("query", "a text that is searched with; each is scored with both models"),
        Term("gain", "the metric of one model less that of the other", code="gains"),
        Term(
            "interval, 95 % interval",
            "the range that holds the true gain with a confidence of 95 %, by a paired bootstrap",
            code="promotion",
        ),
        Term("slice", "the queries with one value of a column, compared on their own", code="promotion.max_slice_loss"),
        Term(
            "index",
            "the stored vectors of all documents; it must be rebuilt when the embedding space changes",
            code="reindex",
        ),
    ),
    "Orchestrators": (
        Term(
            "component",
            "the definition of a unit in Kubeflow Pipelines; here also its definition for all orchestrators",
        ),
        Term("task", "one use of a component in a pipeline (Kubeflow) or a DAG (Airflow)"),
        Term("pipeline, DAG", "a graph of tasks or steps; DAG only for Airflow"),
        Term("pipeline run", "one execution of a pipeline"),
        Term("schedule", "when a request is trained again: `schedule.cron`"),
        Term("TrainJob", "Kubeflow Trainer's object for a training on several nodes"),
    ),
}
"""The terms by the title of their section."""


def all_terms() -> Iterator[Term]:
    """Return the terms of all sections."""
    for terms in GLOSSARY.values():
        yield from terms
