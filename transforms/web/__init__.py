"""Asking the web: which addresses, how often, how much, and what its answers mean."""
