"""What is said to a user instead of a traceback."""


class UserError(Exception):
    """A fault of the input, not of the program: its message names the thing, the place and the remedy."""
