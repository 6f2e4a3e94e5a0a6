"""The tour: `reelscript demo`."""
