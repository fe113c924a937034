"""The processes that train: the only package that imports torch, transformers, sentence_transformers and datasets."""
