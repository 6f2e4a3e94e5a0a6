"""Two corpora, or two releases of one, side by side."""
