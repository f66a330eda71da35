"""The one exception that a user can mend."""


class VerydeepError(Exception):
    """Bad input, told in one clear sentence: what is wrong, in which file or option, and what to do.

    The command line prints the sentence and exits with 1; no traceback is shown.
    """


class OtherProcessError(VerydeepError):
    """This process of a job ends because another one did, which tells why."""
