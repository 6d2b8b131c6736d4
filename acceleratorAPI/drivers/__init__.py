"""Drivers run a function's kernel on a device: they move bytes and read counters, and know no HTTP."""
