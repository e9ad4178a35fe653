"""Annotated images in the formats that people have, one module a format, all read to the same few classes."""
