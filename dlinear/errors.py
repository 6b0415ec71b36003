"""Errors a user can act on: each message says what was received and what is allowed."""

from __future__ import annotations


class DlinearError(ValueError):
    """Base of every error raised on purpose; a `ValueError`."""


class ShapeError(DlinearError):
    """An array has the wrong shape or the wrong number of layers."""


class NonFiniteError(DlinearError):
    """A NaN or an infinity was given, or layer products left the range of float64."""


class HorizonError(DlinearError):
    """A horizon is not an integer in 1..T."""


class DomainError(DlinearError):
    """A parameter lies outside the domain on which a statement holds (for example c >= T)."""


class UndefinedAngleError(DlinearError):
    """The angle between g_h and g_T is undefined because one of them is zero."""


class RecordError(DlinearError):
    """A result file is truncated, foreign or of a newer version."""


class DataError(DlinearError):
    """A data set is missing, damaged or of an unexpected layout."""


class MissingDependencyError(DlinearError):
    """An optional package is not installed; the message names the command that installs it."""


class DistributedError(DlinearError):
    """A rank of a distributed run is missing, dead or has failed; the message says which, and at what."""


class MeterError(DlinearError):
    """A quantity cannot be measured on this device or of this model; never reported as 0."""
