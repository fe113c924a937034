"""The training arguments: which exist, of which type, and what each is worth. No torch."""
