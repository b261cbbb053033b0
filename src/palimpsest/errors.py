"""The error that a user can mend."""


class UserError(Exception):
    """A fault of the input, not of the program: its message names the thing, the place and the remedy."""
