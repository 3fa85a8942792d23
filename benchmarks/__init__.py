"""Timings of the library beside its peers; `make bench` prints one table."""
