"""What a person runs: build, verify, show."""
