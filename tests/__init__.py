"""Tests: one file a subject."""
