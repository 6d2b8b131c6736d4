"""All of ours that reads bytes from strangers, as targets for a fuzzer: one module each, listed in `registry`."""
