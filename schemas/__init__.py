"""Records, tables and the published sample format: data, with no behaviour beyond its shape."""
