"""Records, tables and the published sample format: data only, no behaviour beyond their own shape."""
