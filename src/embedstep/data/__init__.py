"""Read the datasets of a request, check their rows, and write each as one Arrow file, without pandas."""
