"""torchrun on one node: rendezvous with other nodes, files sent to them, signals passed to the ranks."""
