"""The store: accounts, access keys, the catalogue and the metering of accelerated functions, as a Django project."""
