"""From a request and its rows to a plan, before torch is imported and before a GPU is held."""
