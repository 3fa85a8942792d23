"""`python -m benchmarks [pytest options]`: run every benchmark and print one table."""

import sys
from pathlib import Path

import pytest

# One process: benchmarks beside each other would time each other.
_OPTIONS = ["-n=0", "--benchmark-enable", "--benchmark-quiet", "-q"]

if __name__ == "__main__":
    sys.exit(pytest.main([str(Path(__file__).parent), *_OPTIONS, *sys.argv[1:]]))
