"""The table of hooks against installed libraries; without pytest, which the environment of Airflow lacks."""

import importlib
import inspect
import re
from typing import Any

from embedstep.runtime.hooks import Hook


def owner_of(hook: Hook) -> Any:
    """The module or class of a hook."""
    module, _, name = hook.owner.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def signature_of(function: Any) -> str:
    """Parameters and defaults without types: those are not what a call or an override depends on."""
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def problem_of(hook: Hook) -> str:
    """Say how the installed library differs from the table, or nothing."""
    owner = owner_of(hook)
    if hook.signature is None:
        is_there = re.search(rf"(?<!\w){re.escape(hook.name)}(?![a-z0-9])", inspect.getsource(owner))
        return "" if is_there else f"{hook.owner} no longer has {hook.name}"
    if not hasattr(owner, hook.name):
        return f"{hook.owner}.{hook.name} is gone"
    found = signature_of(getattr(owner, hook.name))
    return "" if found == hook.signature else f"{hook.owner}.{hook.name} is now {found}"
