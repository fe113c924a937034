"""A request for files that nobody has described: what their columns are, and what training fits them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from embedstep.data.model_facts import read_model_facts
from embedstep.data.profile import profile_files
from embedstep.data.split_files import find_splits
from embedstep.errors import InvalidRequestError, Problem, suggest
from embedstep.planning.column_roles import propose_roles
from embedstep.planning.proposals import Task, propose_task
from embedstep.planning.proposed_sizes import Sizes, propose_sizes
from embedstep.planning.request_text import Found, Surroundings, request_text
from embedstep.runtime.devices import compute_in_bfloat16, visible_gpus

_WHERE = "data.train.docs"
_STATIC = "StaticEmbedding"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposedRequest:
    """A proposal.

    Attributes:
        text: the request as YAML.
        task: the training.
        sizes: its numbers.
        is_evaluated: whether there are rows to evaluate on.
    """

    text: str
    task: Task
    sizes: Sizes
    is_evaluated: bool


def propose_request(paths: Sequence[str], model: str, columns: Mapping[str, str | None] | None = None) -> str:
    """Look at files with rows, and return a request for a training on them as YAML.

    Args:
        paths: files, folders, globs, folders of a saved dataset, or fsspec URLs of these.
        model: folder or hub id of the model to train.
        columns: columns by role (`anchor`, `positive`, `negative`, `label`), or None for a role that none has; the
            others are proposed.

    Raises:
        InvalidRequestError: the files cannot be read, or no training fits their columns.
        CannotStartError: a server with files could not be reached.
    """
    return propose(find_rows(paths), look_around(model), columns).text


def find_rows(paths: Sequence[str]) -> Found:
    """Return the files of `paths`, and what their first rows show; see `propose_request`."""
    try:
        splits = find_splits(_WHERE, paths)
        profile = profile_files(_WHERE, splits["train"].files)
        others = profile_files(_WHERE, splits["eval"].files).columns if "eval" in splits else ()
    except InvalidRequestError as error:
        # There is no request yet that the path of the problem could point to.
        raise InvalidRequestError([Problem("", problem.message) for problem in error.problems]) from None
    notes = list(profile.notes)
    if "test" in splits:
        notes.append(f"{', '.join(splits['test'].paths)} is not used; embedstep evaluate scores models on such rows")
    return Found(splits=splits, profile=profile, eval_columns=frozenset(one.name for one in others), notes=tuple(notes))


def look_around(model: str) -> Surroundings:
    """Return what a request takes from the model, if its files are here, and from the machine."""
    gpus = visible_gpus(os.environ)
    around = Surroundings(
        model=model,
        gpus=gpus,
        has_bfloat16=gpus > 0 and compute_in_bfloat16(),
        has_mlflow=find_spec("mlflow") is not None,
    )
    folder = Path(model).expanduser()
    try:
        facts = read_model_facts(folder) if folder.is_dir() else None
    except (ValueError, KeyError, TypeError, AttributeError):  # the check says what is wrong with the files
        facts = None
    if facts is None:
        return around
    return replace(around, is_static=_STATIC in facts.modules, similarity=facts.similarity)


def propose(found: Found, around: Surroundings, columns: Mapping[str, str | None] | None = None) -> ProposedRequest:
    """Return the request that fits the files; see `propose_request`."""
    known = [one.name for one in found.profile.columns]
    problems = [
        Problem(role, f"there is no column {name!r}; the columns are {', '.join(known)}{suggest(name, known)}")
        for role, name in (columns or {}).items()
        if name is not None and name not in known
    ]
    if problems:
        raise InvalidRequestError(problems)
    roles = propose_roles(found.profile.columns, columns)
    task = propose_task(roles, found.profile, is_static=around.is_static)
    lacking = sorted(task.roles.named().keys() - found.eval_columns)
    if found.has_eval and lacking:
        note = f"{', '.join(found.splits['eval'].paths)} is not used: it has no column {lacking[0]!r}"
        kept = {name: split for name, split in found.splits.items() if name != "eval"}
        found = replace(found, splits=kept, notes=(*found.notes, note))
    sizes = propose_sizes(task, found.profile, is_static=around.is_static, on_gpu=around.gpus > 0)
    return ProposedRequest(
        text=request_text(task, sizes, found, around),
        task=task,
        sizes=sizes,
        is_evaluated=found.has_eval or sizes.share is not None,
    )
