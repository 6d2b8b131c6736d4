"""The store's REST API, version 1."""
