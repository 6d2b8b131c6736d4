"""What crosses the network: paths, records, the error shape. Pure data, no I/O."""
