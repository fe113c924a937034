"""The store of ZenML that these tests share."""

from tests.adapters.running import zen, zenml_home
from tests.decided import document

__all__ = ["document", "zen", "zenml_home"]
