"""The request: the document that a person writes, as frozen values. No torch, no files beyond the document itself."""
