"""`reelscript sweep`: the corpus at other thresholds, from stored scores."""
