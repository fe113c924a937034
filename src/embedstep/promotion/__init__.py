"""Whether a new model may serve: two models on the same queries, how sure their difference is, and a verdict."""
