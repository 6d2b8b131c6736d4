"""Database migrations of the store."""
