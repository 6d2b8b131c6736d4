"""Accelerated functions: bytes in, bytes out, parameters. They know neither nodes nor HTTP."""
