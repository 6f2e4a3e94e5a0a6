"""A corpus read back: its tables, its samples by ranged reads, their frames."""
