"""The two ways a request can be declined: the user's input is wrong, or one case does not apply."""


class InputError(ValueError):
    """The user's input is wrong. The message is one line: what, where, and what would be right."""


class NotApplicable(Exception):
    """A case that this method, spectrum or loss cannot take: a skipped row, with this reason."""
