"""The run for a person to look at: one HTML file that needs no network and no script."""
