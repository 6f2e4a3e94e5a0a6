"""Groups of stages on a Ray cluster."""
