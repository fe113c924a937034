"""What a request has of other packages, by whose code its training depends on more than its words."""

from collections.abc import Iterator, Sequence

from embedstep.planning.batch_samplers import declared_code
from embedstep.planning.evaluators import evaluator_kind
from embedstep.planning.losses import loss_kind, nested
from embedstep.planning.modules import module_kind
from embedstep.request.extensions import code_digest, is_reference
from embedstep.request.model import Module
from embedstep.request.schema import TrainRequest


def code_of(request: TrainRequest) -> dict[str, str]:
    """Return a digest of the code of each declared loss, evaluator, module and batch sampler of a checked request.

    A row function has none here: the rows that it makes are in the fingerprint of the rows.
    """
    kinds = [loss_kind(loss.kind) for given in request.loss.values() for loss in nested(given)]
    classes = [kind.class_name for kind in kinds] + [
        evaluator_kind(item.kind).class_name for item in request.evaluators
    ]
    classes += [module_kind(item.kind).class_name for item in _with_routes(request.model.modules or ())]
    found = {name: code_digest(name.partition(":")[0]) for name in classes if is_reference(name)}
    sampler = request.arguments.batch_sampler
    code = declared_code(sampler)
    return found | ({sampler: code} if code else {})


def _with_routes(modules: Sequence[Module]) -> Iterator[Module]:
    """Yield modules, and those of their routes."""
    for module in modules:
        yield module
        for route in (module.routes or {}).values():
            yield from _with_routes(route)
