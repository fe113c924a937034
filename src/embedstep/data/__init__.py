"""The data: from files named in a request to facts about their rows, and one clean file. No torch, no pandas."""
