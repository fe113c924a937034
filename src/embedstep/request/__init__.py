"""The request: the document that a person writes, parsed and checked, as frozen values."""
