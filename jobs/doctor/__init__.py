"""Whether this machine is ready, and what mends it where it is not."""
