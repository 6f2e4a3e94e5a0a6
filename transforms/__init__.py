"""The stages: one file, one stage. `jobs/build.py` lists them in order."""
