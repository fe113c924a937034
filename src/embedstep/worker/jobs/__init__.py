"""Jobs that need torch and are no training: fetch from the hub, score models, mine hard negatives."""
