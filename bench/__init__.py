"""Speed and memory against the original's way, measured in one run: `make bench`."""
