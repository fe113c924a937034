"""Training data that every installation has: the docstrings of Python and of installed libraries."""
