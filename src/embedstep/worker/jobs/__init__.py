"""Jobs other than training that need torch: fetch from the hub, score models, mine hard negatives."""
