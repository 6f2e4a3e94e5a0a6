"""A corpus folder against the published format."""
