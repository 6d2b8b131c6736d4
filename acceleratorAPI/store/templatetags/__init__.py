"""Template filters of the store."""
