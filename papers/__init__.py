"""Papers reproduced with diffhep: one folder each, run by `python -m papers`."""
