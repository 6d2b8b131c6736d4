"""What a user holds: accelerators. The client finds a provider, talks to a node, and ends what it made."""
