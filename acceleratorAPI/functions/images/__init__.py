"""Uncompressed and PNG images, read one after the other from a stream, for the functions that encode them."""
