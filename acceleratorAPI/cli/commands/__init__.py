"""One module a command group; what a command needs is imported when it runs."""
