"""A film, read from a file of any kind, as 8-bit grey."""
