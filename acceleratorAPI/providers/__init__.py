"""Providers make and end machines. They know nothing of functions or of a node's REST API."""
