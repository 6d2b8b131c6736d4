"""The command ``acceleratorapi``. Nothing here does the work: each command calls the public Python API."""
