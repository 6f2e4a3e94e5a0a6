"""Groups of stages on runners of Apache Beam."""
