"""Files behind URLs: ``https`` by a transport of our own, ``s3`` and ``gs`` through fsspec. Knows no node."""
