"""The table of modules, against the installed classes and the page that describes it."""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs.pages import modules_table
from sentence_transformers.sentence_transformer import modules as library

from embedstep.planning.module_checks import follow_modules
from embedstep.planning.modules import MODULES, ModuleKind, find_module
from embedstep.request.model import POOLING_MODES, Model
from embedstep.request.options import REQUIRED, option_value
from tests.places import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
NOT_MODULES = {"Asym", "Module", "InputModule"}
"""Names of the library that are an older name, and base classes."""
OTHER_DEFAULTS = {
    # Filled in from the modules before.
    ("WeightedLayerPooling", "num_hidden_layers"),
    # A constructor's own default is an object of torch, or a mutable one.
    ("Dense", "activation_function"),
    ("Router", "default_route"),
}


def signature(kind: ModuleKind) -> Mapping[str, inspect.Parameter]:
    """Parameters of what builds the module."""
    found: Callable[..., Any] = getattr(library, kind.class_name)
    if kind.name == "clip":
        found = library.Transformer
    elif kind.name == "word_embeddings":
        found = library.WordEmbeddings.from_text_file
    parameters = inspect.signature(found).parameters
    return {name: each for name, each in parameters.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}


def test_each_module_of_the_library_is_in_the_table() -> None:
    assert {kind.class_name for kind in MODULES.values()} == set(library.__all__) - NOT_MODULES
    assert all(find_module(kind.class_name) is kind for kind in MODULES.values())


@pytest.mark.parametrize("name", MODULES)
def test_its_arguments_are_those_of_the_installed_class(name: str) -> None:
    kind = MODULES[name]
    own = [option for option in kind.options if option != "path"]  # the place of its files
    assert sorted([*own, *kind.filled, *kind.left_out]) == sorted(signature(kind))


@pytest.mark.parametrize("name", MODULES)
def test_its_defaults_are_those_of_the_installed_class(name: str) -> None:
    kind = MODULES[name]
    installed = signature(kind)
    for option_name, option in kind.options.items():
        is_filled = option_name in ("path", kind.input_width) or (kind.class_name, option_name) in OTHER_DEFAULTS
        if not is_filled:
            default = installed[option_name].default
            assert (REQUIRED if default is inspect.Parameter.empty else default) == option.default, option_name
    assert all(option_value(option, option.default) == option.default for option in given_defaults(kind))


def given_defaults(kind: ModuleKind) -> list[Any]:
    return [option for option in kind.options.values() if option.default is not REQUIRED]


def test_pooling_modes_are_those_of_the_installed_class() -> None:
    assert POOLING_MODES == library.Pooling.POOLING_MODES


def test_the_page_has_the_table() -> None:
    assert modules_table() in PAGE


def test_the_examples_of_the_page_fit_together(tiny_model: Path) -> None:
    examples = [yaml.safe_load(piece)["model"] for piece in re.findall(r"```yaml\n(model:.*?)```", PAGE, re.DOTALL)]
    with_modules = [example for example in examples if "modules" in example]
    assert len(with_modules) == 2
    for example in examples:
        Model.model_validate(example)
    for example in with_modules:
        text = json.dumps(example).replace("static-model", str(tiny_model))
        assert follow_modules(Model.model_validate_json(text), str(tiny_model)).problems == ()
