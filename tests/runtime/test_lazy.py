"""A name of a package is imported on first use."""

import sys

import pytest

from embedstep.runtime.lazy import import_on_use


def test_a_name_is_imported_from_its_module_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    get = import_on_use("package", {"json": ("dumps",), "xml.sax.saxutils": ("saxutils", "escape"), "this": ("zen",)})
    assert get("dumps")({}) == "{}"
    assert get("saxutils").escape is get("escape")
    assert "this" not in sys.modules


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'package' has no attribute 'loads'"):
        import_on_use("package", {"json": ("dumps",)})("loads")
