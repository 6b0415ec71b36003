"""The one error of the trusted room."""


class CertificateError(ValueError):
    """A certificate was rejected; the message is one line and says why."""
