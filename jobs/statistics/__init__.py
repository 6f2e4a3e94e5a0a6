"""The numbers of a corpus, counted over its tables by SQL."""
