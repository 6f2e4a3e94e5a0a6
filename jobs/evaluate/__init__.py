"""`reelscript evaluate`: what a checkpoint can do, beside what can be done without seeing."""
