"""What remains after unlearning: the same numbers for every method of every family, read from what they measured."""
