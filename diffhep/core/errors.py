"""The exceptions of diffhep: every one names the argument, the rule and the value in one line."""


class DiffhepError(Exception):
    """Base of every error that diffhep raises on purpose."""


class ShapeError(DiffhepError, ValueError):
    """An array has the wrong rank, shape or dtype."""


class ConfigError(DiffhepError, ValueError):
    """A setting is unknown, missing or out of its range."""


class DataError(DiffhepError, ValueError):
    """A file or an array read from outside is damaged or not what it claims to be."""


class ConvergenceError(DiffhepError, ArithmeticError):
    """A computation produced a value that is not finite, or did not reach its tolerance."""


class Interrupted(DiffhepError):
    """The user stopped a run; its state is saved and the message says how to go on."""
