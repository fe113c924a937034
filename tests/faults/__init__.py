"""What goes wrong on a cluster, injected for real: one test a fault, each with what must remain."""
