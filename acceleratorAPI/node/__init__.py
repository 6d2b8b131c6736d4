"""The node: the REST service on an instance. It owns jobs, worker processes, the spool and its own end."""
