"""The losses that a request may name: the data that each needs, its options, and what it can be combined with.

The library checks none of this before the first batch, and some of it never: a loss that gets the wrong columns
silently trains on them. The table is plain data, so a request is checked on a machine without torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from embedstep.data.facts import DatasetFacts
from embedstep.errors import Problem
from embedstep.planning.kinds import Kind, KindTable, Label, describe_list
from embedstep.request import extensions, schema
from embedstep.request.columns import Columns
from embedstep.request.options import (
    Option,
    all_values,
    boolean,
    choice,
    choices,
    integer,
    integers,
    number,
    numbers,
    option_values,
    text,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Takes:
    """One set of columns that a loss accepts; texts are in the order anchor, positive, negatives.

    Attributes:
        least: smallest number of text columns.
        most: largest number of text columns; None without a limit.
        label: the label, or None for a loss without one.
        label_optional: whether the label may be left out.
    """

    least: int
    most: int | None
    label: Label | None = None
    label_optional: bool = False

    def fits(self, count: int) -> bool:
        """Whether a dataset with so many text columns is accepted."""
        return self.least <= count and (self.most is None or count <= self.most)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossKind(Kind):
    """One loss. A class of another package gets the model and the options as keyword arguments.

    Attributes:
        takes: sets of columns it accepts; empty for a wrapper, which accepts those of its inner loss.
        built_as: class to build instead of one that the library has deprecated.
        fixed: constructor arguments that come with `built_as`.
        wraps: whether it wraps another loss.
        not_under: wrappers under which it fails or is meaningless.
        in_batch_negatives: whether the other rows of a batch are negatives, so that texts should not repeat.
        needs_label_groups: whether a batch needs several rows of each label (batch sampler group_by_label).
        needs_transformer: whether it fails on every static embedding.
        averages_gradients: whether several processes train one model; False where the loss calls the model past the
            distributed wrapper, so that each process trains its own.
        loss_parameters: `always`, or the option that turns them on: the loss trains layers of its own, which are not
            part of the model and not averaged between processes.
        classes: option with the number of classes; labels go from 0 to one less.
        cross_entropy: attribute with its final cross-entropy, where labels can be smoothed.
        transform: the transform that makes its rows of one column of texts.
    """

    takes: tuple[Takes, ...] = ()
    built_as: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    wraps: bool = False
    not_under: tuple[str, ...] = ()
    in_batch_negatives: bool = False
    needs_label_groups: bool = False
    needs_transformer: bool = False
    averages_gradients: bool = True
    loss_parameters: str = ""
    classes: str | None = None
    cross_entropy: str | None = None
    transform: str = ""


def _positives_are_compared(values: Mapping[str, Any]) -> str | None:
    if "query_to_doc" not in values["directions"]:
        return "directions must contain query_to_doc, the direction that holds the positive"
    same_side = [name for name in values["directions"] if name in ("query_to_query", "doc_to_doc")]
    if values["partition_mode"] == "per_direction" and same_side:
        return f"partition_mode per_direction does not go with the direction {same_side[0]}; write joint"
    return None


def _hardness_has_strength(values: Mapping[str, Any]) -> str | None:
    if (values["hardness_mode"] is None) != (values["hardness_strength"] == 0):
        return "hardness_mode and a hardness_strength above 0 work only together; give both or neither"
    return None


def _something_is_concatenated(values: Mapping[str, Any]) -> str | None:
    if not any(value for name, value in values.items() if name.startswith("concatenation_")):
        return "leaves nothing to classify; keep one of the concatenation_ options true"
    return None


def _something_is_regularized(values: Mapping[str, Any]) -> str | None:
    if not values["mean_weight"] and not values["second_moment_weight"]:
        return "mean_weight and second_moment_weight are both 0, which trains nothing; give one of them a value"
    return None


def _each_dimension_has_a_weight(values: Mapping[str, Any]) -> str | None:
    dims, weights = values["matryoshka_dims"], values["matryoshka_weights"]
    if len(set(dims)) < len(dims):
        return f"matryoshka_dims names a dimension twice: {dims}"
    if weights is not None and len(weights) != len(dims):
        return f"matryoshka_weights has {len(weights)} values for {len(dims)} matryoshka_dims; give one for each"
    return None


def _steps_are_all_or_some(values: Mapping[str, Any]) -> str | None:
    for name in ("n_dims_per_step", "n_layers_per_step"):
        if values.get(name) == 0:
            return f"{name} must be 1 or more, or -1 for all"
    return None


def _decoder_is_named_once(values: Mapping[str, Any]) -> str | None:
    if values["tie_encoder_decoder"] == (values["decoder_name_or_path"] is not None):
        return "needs either tie_encoder_decoder: true or a decoder_name_or_path, not both or neither"
    return None


CLASS = Label(words="a class, an integer", kinds=("integer",))
BINARY = Label(words="0 or 1", kinds=("integer",), low=0, high=1)
SCORE = Label(words="a score, a number", kinds=("integer", "number"))
COSINE = Label(words="a similarity from -1 to 1", kinds=("integer", "number"), low=-1, high=1)
VECTOR = Label(words="the teacher's vector, a list of numbers", kinds=("numbers",))
MARGIN = Label(words="the teacher's margin, one number", kinds=("integer", "number", "numbers"))
MARGINS = Label(words="the teacher's margin or score for each text, a list of numbers", kinds=("numbers",))
SCORES = Label(words="the teacher's score for each text after the anchor, a list of numbers", kinds=("numbers",))

_MATRIX_SIMILARITIES = ("cos_sim", "dot_score", "euclidean_sim", "manhattan_sim")
_PAIR_SIMILARITIES = ("pairwise_cos_sim", "pairwise_dot_score", "pairwise_euclidean_sim", "pairwise_manhattan_sim")
_DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
_HARDNESS = ("in_batch_negatives", "hard_negatives", "all_negatives")
_SYMMETRIC = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}

_RANKING = {
    "scale": number(20.0, above=0),
    "similarity_fct": choice("cos_sim", _MATRIX_SIMILARITIES),
    "gather_across_devices": boolean(False),
}
_DIRECTED = {
    "directions": choices(["query_to_doc"], _DIRECTIONS),
    "partition_mode": choice("joint", ("joint", "per_direction")),
    "hardness_mode": choice(None, _HARDNESS),
    "hardness_strength": number(0.0, least=0),
}
_MINI_BATCHES = {"mini_batch_size": integer(32, least=1), "mini_batch_num_tokens": integer(None, least=1)}
_SIAMESE = {
    "distance_metric": choice("cosine_distance", ("cosine_distance", "euclidean", "manhattan")),
    "margin": number(0.5),
}
_BATCH_DISTANCE = choice("euclidean_distance", ("euclidean_distance", "cosine_distance"))
_GUIDED = {
    "guide": text(),
    "temperature": number(0.01, above=0),
    "margin_strategy": choice("absolute", ("absolute", "relative")),
    "margin": number(0.0),
    "contrast_anchors": boolean(True),
    "contrast_positives": boolean(True),
    "gather_across_devices": boolean(False),
}
_DIMENSIONS = {"matryoshka_dims": integers(least=1), "matryoshka_weights": numbers(None)}
_LAYERS = {
    "n_layers_per_step": integer(1, least=-1),
    "last_layer_weight": number(1.0),
    "prior_layers_weight": number(1.0),
    "kl_div_weight": number(1.0),
    "kl_temperature": number(0.3, least=0),
    "layer_weighting": choice("uniform", ("uniform", "log", "linear")),
}

_NO_LAYER_WRAPPER = ("adaptive_layer", "matryoshka_2d")
_NO_DIMENSION_WRAPPER = ("matryoshka", "matryoshka_2d")
_NO_WRAPPER = ("matryoshka", "adaptive_layer", "matryoshka_2d")


def _batch_triplet(name: str, class_name: str, **options: Option) -> LossKind:
    """Return a loss that finds its triplets among the rows of a batch, by their labels."""
    return LossKind(
        name=name,
        class_name=class_name,
        takes=(Takes(least=1, most=1, label=CLASS),),
        options={"distance_metric": _BATCH_DISTANCE, **options},
        needs_label_groups=True,
        averages_gradients=False,
    )


# The tests list the constructor parameters and the classes of the library that have no row here, with the reasons.
_ROWS = (
    LossKind(
        name="multiple_negatives_ranking",
        class_name="MultipleNegativesRankingLoss",
        takes=(Takes(least=2, most=None),),
        options=_RANKING | _DIRECTED,
        in_batch_negatives=True,
        rules=(_positives_are_compared, _hardness_has_strength),
    ),
    LossKind(
        name="multiple_negatives_symmetric_ranking",
        class_name="MultipleNegativesSymmetricRankingLoss",
        takes=(Takes(least=2, most=None),),
        options=_RANKING,
        built_as="MultipleNegativesRankingLoss",
        fixed=_SYMMETRIC,
        in_batch_negatives=True,
    ),
    LossKind(
        name="cached_multiple_negatives_ranking",
        class_name="CachedMultipleNegativesRankingLoss",
        takes=(Takes(least=2, most=None),),
        options=_RANKING | _MINI_BATCHES | _DIRECTED,
        not_under=_NO_LAYER_WRAPPER,
        in_batch_negatives=True,
        needs_transformer=True,
        rules=(_positives_are_compared, _hardness_has_strength),
    ),
    LossKind(
        name="cached_multiple_negatives_symmetric_ranking",
        class_name="CachedMultipleNegativesSymmetricRankingLoss",
        takes=(Takes(least=2, most=None),),
        options=_RANKING | _MINI_BATCHES,
        built_as="CachedMultipleNegativesRankingLoss",
        fixed=_SYMMETRIC,
        not_under=_NO_LAYER_WRAPPER,
        in_batch_negatives=True,
        needs_transformer=True,
    ),
    LossKind(
        name="gist_embed",
        class_name="GISTEmbedLoss",
        takes=(Takes(least=2, most=3),),
        options=_GUIDED,
        in_batch_negatives=True,
    ),
    LossKind(
        name="cached_gist_embed",
        class_name="CachedGISTEmbedLoss",
        takes=(Takes(least=2, most=None),),
        options=_GUIDED | _MINI_BATCHES,
        not_under=_NO_LAYER_WRAPPER,
        in_batch_negatives=True,
        needs_transformer=True,
    ),
    LossKind(
        name="mega_batch_margin",
        class_name="MegaBatchMarginLoss",
        takes=(Takes(least=2, most=2),),
        options={
            "positive_margin": number(0.8),
            "negative_margin": number(0.3),
            "use_mini_batched_version": boolean(True),
            "mini_batch_size": integer(50, least=1),
            "mini_batch_num_tokens": integer(None, least=1),
        },
        not_under=_NO_LAYER_WRAPPER,
        in_batch_negatives=True,
    ),
    LossKind(
        name="cosent",
        class_name="CoSENTLoss",
        takes=(Takes(least=2, most=2, label=SCORE),),
        options={
            "scale": number(20.0, above=0),
            "similarity_fct": choice("pairwise_cos_sim", (*_PAIR_SIMILARITIES, "pairwise_angle_sim")),
        },
    ),
    LossKind(
        name="angle",
        class_name="AnglELoss",
        takes=(Takes(least=2, most=2, label=SCORE), Takes(least=3, most=None, label=SCORE, label_optional=True)),
        options={"scale": number(20.0, above=0)},
    ),
    LossKind(
        name="cosine_similarity",
        class_name="CosineSimilarityLoss",
        takes=(Takes(least=2, most=2, label=COSINE),),
    ),
    LossKind(
        name="contrastive",
        class_name="ContrastiveLoss",
        takes=(Takes(least=2, most=2, label=BINARY),),
        options=_SIAMESE | {"size_average": boolean(True)},
    ),
    LossKind(
        name="online_contrastive",
        class_name="OnlineContrastiveLoss",
        takes=(Takes(least=2, most=2, label=BINARY),),
        options=_SIAMESE,
    ),
    LossKind(
        name="triplet",
        class_name="TripletLoss",
        takes=(Takes(least=3, most=3),),
        options={
            "distance_metric": choice("euclidean", ("euclidean", "cosine", "manhattan")),
            "triplet_margin": number(5.0),
        },
    ),
    _batch_triplet("batch_all_triplet", "BatchAllTripletLoss", margin=number(5.0)),
    _batch_triplet("batch_hard_triplet", "BatchHardTripletLoss", margin=number(5.0)),
    _batch_triplet("batch_hard_soft_margin_triplet", "BatchHardSoftMarginTripletLoss"),
    _batch_triplet("batch_semi_hard_triplet", "BatchSemiHardTripletLoss", margin=number(5.0)),
    LossKind(
        name="softmax",
        class_name="SoftmaxLoss",
        takes=(Takes(least=2, most=2, label=CLASS),),
        options={
            "num_labels": integer(least=2),
            "concatenation_sent_rep": boolean(True),
            "concatenation_sent_difference": boolean(True),
            "concatenation_sent_multiplication": boolean(False),
        },
        not_under=_NO_DIMENSION_WRAPPER,
        loss_parameters="always",
        classes="num_labels",
        cross_entropy="loss_fct",
        rules=(_something_is_concatenated,),
    ),
    LossKind(
        name="mse",
        class_name="MSELoss",
        takes=(Takes(least=1, most=None, label=VECTOR),),
        options={"projection_dim": integer(None, least=1)},
        loss_parameters="projection_dim",
    ),
    LossKind(
        name="embed_distill",
        class_name="EmbedDistillLoss",
        takes=(Takes(least=1, most=None, label=VECTOR),),
        options={
            "distance_metric": choice("cosine", ("cosine", "mse", "l2")),
            "projection_dim": integer(None, least=1),
        },
        loss_parameters="projection_dim",
    ),
    LossKind(
        name="margin_mse",
        class_name="MarginMSELoss",
        takes=(Takes(least=3, most=3, label=MARGIN), Takes(least=4, most=None, label=MARGINS)),
        options={"similarity_fct": choice("pairwise_dot_score", _PAIR_SIMILARITIES)},
    ),
    LossKind(
        name="distill_kl_div",
        class_name="DistillKLDivLoss",
        takes=(Takes(least=3, most=None, label=SCORES),),
        options={
            "similarity_fct": choice("pairwise_dot_score", _PAIR_SIMILARITIES),
            "temperature": number(1.0, above=0),
            "student_temperature": number(None, above=0),
            "teacher_temperature": number(None, above=0),
        },
    ),
    LossKind(
        name="global_orthogonal_regularization",
        class_name="GlobalOrthogonalRegularizationLoss",
        takes=(Takes(least=1, most=None),),
        options={
            "similarity_fct": choice("cos_sim", _MATRIX_SIMILARITIES),
            "mean_weight": number(1.0, least=0, may_be_null=True),
            "second_moment_weight": number(1.0, least=0, may_be_null=True),
            "aggregation": choice("mean", ("mean", "sum")),
        },
        not_under=_NO_WRAPPER,
        rules=(_something_is_regularized,),
    ),
    LossKind(
        name="contrastive_tension",
        class_name="ContrastiveTensionLoss",
        takes=(Takes(least=2, most=2, label=BINARY, label_optional=True),),
        not_under=_NO_WRAPPER,
        needs_transformer=True,
        averages_gradients=False,
        loss_parameters="always",
        transform="contrastive_pairs",
    ),
    LossKind(
        name="contrastive_tension_in_batch_negatives",
        class_name="ContrastiveTensionLossInBatchNegatives",
        takes=(Takes(least=1, most=1),),
        options={"scale": number(20.0, above=0), "similarity_fct": choice("cos_sim", _MATRIX_SIMILARITIES)},
        not_under=_NO_WRAPPER,
        in_batch_negatives=True,
        averages_gradients=False,
        loss_parameters="always",
        cross_entropy="cross_entropy_loss",
    ),
    LossKind(
        name="denoising_auto_encoder",
        class_name="DenoisingAutoEncoderLoss",
        takes=(Takes(least=2, most=2),),
        options={"decoder_name_or_path": text(None), "tie_encoder_decoder": boolean(True)},
        not_under=_NO_WRAPPER,
        needs_transformer=True,
        averages_gradients=False,
        loss_parameters="always",
        transform="delete_words",
        rules=(_decoder_is_named_once,),
    ),
    LossKind(
        name="matryoshka",
        class_name="MatryoshkaLoss",
        options=_DIMENSIONS | {"n_dims_per_step": integer(-1, least=-1)},
        wraps=True,
        not_under=_NO_DIMENSION_WRAPPER,
        rules=(_each_dimension_has_a_weight, _steps_are_all_or_some),
    ),
    LossKind(
        name="adaptive_layer",
        class_name="AdaptiveLayerLoss",
        options=_LAYERS,
        wraps=True,
        not_under=_NO_WRAPPER,
        needs_transformer=True,
        rules=(_steps_are_all_or_some,),
    ),
    LossKind(
        name="matryoshka_2d",
        class_name="Matryoshka2dLoss",
        options=_DIMENSIONS | {"n_dims_per_step": integer(1, least=-1)} | _LAYERS,
        wraps=True,
        not_under=_NO_WRAPPER,
        needs_transformer=True,
        rules=(_each_dimension_has_a_weight, _steps_are_all_or_some),
    ),
)

LOSSES: Mapping[str, LossKind] = {row.name: row for row in _ROWS}
_TABLE = KindTable(LOSSES, LossKind, extensions.LOSSES, "loss")
loss_kind = _TABLE.find


def innermost(loss: schema.Loss) -> LossKind | None:
    """Return the loss inside all wrappers, which gets the columns; None if its name is unknown."""
    kind = _TABLE.find_or_explain(_inner(loss).kind)
    return None if isinstance(kind, str) else kind


def nested(loss: schema.Loss | None) -> Iterator[schema.Loss]:
    """Yield a loss and its inner losses, the innermost last."""
    while loss is not None:
        yield loss
        loss = loss.loss


def _inner(loss: schema.Loss) -> schema.Loss:
    return list(nested(loss))[-1]


def trains_own_layers(loss: schema.Loss) -> bool:
    """Whether a checked loss trains layers that are not part of the model and so not saved with it."""
    inner = _inner(loss)
    kind = loss_kind(inner.kind)
    return kind.loss_parameters == "always" or inner.options.get(kind.loss_parameters) is not None


def check_loss(loss: schema.Loss, path: str, around: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Yield every problem of a loss and of its inner losses, apart from the data.

    Args:
        loss: the loss as written.
        path: path of the loss in the request, such as `loss` or `loss.docs`.
        around: names of the wrappers outside it.
    """
    kind = _TABLE.find_or_explain(loss.kind)
    if isinstance(kind, str):
        yield Problem(f"{path}.kind", kind)
    else:
        yield from kind.check(loss.options, path)
        yield from _nesting_problems(kind, loss, path, around)
        around = (*around, kind.name)
    if loss.loss is not None:
        yield from check_loss(loss.loss, f"{path}.loss", around)


def _nesting_problems(kind: LossKind, loss: schema.Loss, path: str, around: tuple[str, ...]) -> Iterator[Problem]:
    if kind.wraps and loss.loss is None:
        yield Problem(f"{path}.loss", f"is missing: {kind.name} wraps another loss")
    if not kind.wraps and loss.loss is not None:
        yield Problem(f"{path}.loss", f"is not accepted: {kind.name} does not wrap another loss")
    for wrapper in around:
        if wrapper in kind.not_under:
            yield Problem(f"{path}.kind", f"{kind.name} does not work under {wrapper}; use another loss, or no wrapper")
        elif wrapper in _NO_DIMENSION_WRAPPER and loss.options.get(kind.loss_parameters) is not None:
            yield Problem(
                f"{path}.options.{kind.loss_parameters}",
                f"does not work under {wrapper}: its layer needs the whole vector; remove one of the two",
            )


def check_loss_data(loss: schema.Loss, facts: DatasetFacts, columns: Columns | None = None) -> Iterator[Problem]:
    """Yield every problem of a loss with the columns of its dataset; none where the loss itself is in doubt.

    Args:
        loss: the loss.
        facts: what was read of the dataset.
        columns: columns of the dataset as written, for what to write instead.
    """
    kind = innermost(loss)
    if kind is None or kind.wraps:
        return
    path = f"{facts.place}.columns"
    takes = [each for each in kind.takes if each.fits(len(facts.inputs))]
    if not takes or not _in_order(facts.inputs):
        need = " or ".join(dict.fromkeys(describe_columns(each) for each in kind.takes))
        hint = f"; write transform: {kind.transform}" if kind.transform and facts.inputs == ("anchor",) else ""
        yield Problem(path, f"{kind.name} takes {need}; this dataset has {', '.join(facts.inputs) or 'no texts'}{hint}")
        return
    for role in facts.inputs:
        if facts.columns[role] != "text":
            hint = describe_list(columns, role) if facts.columns[role] == "texts" else ""
            message = f"holds {facts.columns[role]}; {kind.name} needs one text in each row{hint}"
            yield Problem(f"{path}.{role}", message)
    yield from _label_problems(kind, takes[0], facts, f"{path}.label")
    yield from _class_problems(kind, _inner(loss), facts, f"{path}.label")


def _label_problems(kind: LossKind, takes: Takes, facts: DatasetFacts, path: str) -> Iterator[Problem]:
    if takes.label is not None:
        if facts.label is not None or not takes.label_optional:
            yield from takes.label.check(facts, kind.name, path)
    elif facts.label is not None:
        yield Problem(path, f"{kind.name} takes no label; remove it, or choose a loss that learns from labels")


def _class_problems(kind: LossKind, loss: schema.Loss, facts: DatasetFacts, path: str) -> Iterator[Problem]:
    """Refuse classes outside 0 to N-1, on which CUDA fails with an unreadable assertion."""
    if kind.classes is None or facts.label_range is None or kind.classes not in loss.options:
        return
    try:
        count = option_values(kind.options, loss.options)[kind.classes]
    except (KeyError, ValueError):
        return
    low, high = facts.label_range
    if low < 0 or high >= count:
        yield Problem(
            path, f"goes from {low:g} to {high:g}; {kind.classes} {count} needs classes from 0 to {count - 1}"
        )


def _in_order(inputs: tuple[str, ...]) -> bool:
    """Whether the roles are anchor, positive, negatives without a gap; a loss knows columns by position only."""
    expected = ("anchor", "positive")[: len(inputs)]
    return inputs[:2] == expected and all(role.startswith("negative") for role in inputs[2:])


def describe_columns(takes: Takes) -> str:
    """Return the accepted text columns in words: `anchor, positive and any number of further negatives`."""
    roles = ["anchor", "positive"][: takes.least]
    if takes.least > 2:
        roles.append(f"{takes.least - 2} negative{'s' if takes.least > 3 else ''}")
    words = ", ".join(roles)
    if takes.most is None:
        return f"{words}{' and any further texts' if takes.least < 2 else ' and any number of further negatives'}"
    if takes.most > takes.least:
        return f"{words} and at most {takes.most - 2} negative"
    return words


def negatives_per_anchor(
    loss: schema.Loss, inputs: tuple[str, ...], per_device_batch_size: int, world_size: int
) -> int | None:
    """Return the number of in-batch negatives: texts of one step that each anchor's positive competes with.

    With `partition_mode: per_direction` (the symmetric losses) each direction is a softmax of its own; this is the
    number in the anchor's. `mega_batch_margin` learns only from the hardest one.

    Args:
        loss: the checked loss; of a wrapper the inner loss counts.
        inputs: role names of the texts.
        per_device_batch_size: rows of one batch in one process.
        world_size: number of processes.

    Returns:
        The number; None for losses without in-batch negatives, and where a guide model selects them.
    """
    inner = _inner(loss)
    kind = loss_kind(inner.kind)
    if not kind.in_batch_negatives or "guide" in kind.options:
        return None
    if "gather_across_devices" not in kind.options:
        return per_device_batch_size - 1
    values = {**all_values(kind.options, inner.options), **kind.fixed}
    rows = per_device_batch_size * (world_size if values["gather_across_devices"] else 1)
    documents = len(inputs) - 1
    counts = {
        "query_to_doc": rows * documents - 1,
        "query_to_query": rows - 1,
        "doc_to_query": rows - 1,
        "doc_to_doc": (rows - 1) * documents,
    }
    directions = values.get("directions", ["query_to_doc"])
    joint = values.get("partition_mode") == "joint"
    return sum(counts[name] for name in directions) if joint else counts["query_to_doc"]


def losses_are_known(request: schema.TrainRequest) -> Iterator[Problem]:
    """Each loss has a known name and valid options."""
    for name, loss in request.loss.items():
        yield from check_loss(loss, schema.loss_path(name))
