"""Where a build stands."""
