"""What needs torch: imported by the ranks alone, by its name in the declarations."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.modules import Module


class MarginCosineLoss(torch.nn.Module):  # type: ignore[misc]
    """The squared distance of a pair's cosine similarity from its score, less a margin."""

    def __init__(self, model: SentenceTransformer, margin: float = 0.1) -> None:
        super().__init__()
        self.model = model
        self.margin = margin

    def forward(self, features: Sequence[dict[str, Any]], labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch."""
        one, other = (self.model(texts)["sentence_embedding"] for texts in features)
        distance = (torch.cosine_similarity(one, other) - labels).abs()
        return torch.relu(distance - self.margin).square().mean()


class Scaling(Module):  # type: ignore[misc]
    """Weighs each dimension of a sentence embedding."""

    config_keys: ClassVar = ["dimension", "start"]

    def __init__(self, dimension: int, start: float = 1.0) -> None:
        super().__init__()
        self.dimension, self.start = dimension, start
        self.scale = torch.nn.Parameter(torch.full((dimension,), start))

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Return the features with the weighted embedding."""
        features["sentence_embedding"] = features["sentence_embedding"] * self.scale
        return features

    def get_embedding_dimension(self) -> int:
        """Return the dimension of what it gives."""
        return self.dimension

    def save(self, output_path: str, *arguments: Any, safe_serialization: bool = True, **options: Any) -> None:
        """Save settings and weights."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> "Scaling":
        """Load what `save` wrote."""
        made = cls(**cls.load_config(model_name_or_path, subfolder=subfolder))
        loaded: Scaling = cls.load_torch_weights(model_name_or_path, subfolder=subfolder, model=made)
        return loaded


class MeanCosineEvaluator(BaseEvaluator):  # type: ignore[misc]
    """How near the two texts of a row are."""

    def __init__(self, rows: Mapping[str, Sequence[Any]], name: str, batch_size: int = 16) -> None:
        super().__init__()
        self.name, self.primary_metric = name, "mean"
        self._rows, self._size = rows, batch_size

    def __call__(self, model: SentenceTransformer, *arguments: Any, **options: Any) -> dict[str, float]:
        """Return the scores of a model."""
        one, other = (
            model.encode(self._rows[role], batch_size=self._size, convert_to_tensor=True)
            for role in ("anchor", "positive")
        )
        cosine = torch.cosine_similarity(one, other)
        found: dict[str, float] = {"mean": float(cosine.mean()), "least": float(cosine.min())}
        found = self.prefix_name_to_metrics(found, self.name)
        return found
