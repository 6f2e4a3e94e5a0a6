"""Networks, pure torch: nothing here imports another part of the project."""
