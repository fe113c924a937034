"""Training data from every installation: the docstrings of Python and of installed libraries."""
