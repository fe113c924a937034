"""The store of ZenML that these tests share."""

from tests.decided import document
from tests.orchestration.running import zen, zenml_home

__all__ = ["document", "zen", "zenml_home"]
