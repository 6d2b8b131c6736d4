"""The Python face of the native kernels: C++ that releases the GIL and picks its CPU path at run time."""
