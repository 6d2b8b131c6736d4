"""Conformance tests that ship with the package: whoever adds a part proves with them that it fits."""
