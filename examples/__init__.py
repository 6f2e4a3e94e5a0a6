"""Videos, configs and scripts that ship: the demo's, and a generator of corpora for tests."""
