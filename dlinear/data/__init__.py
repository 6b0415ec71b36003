"""Data sets and the whitened tasks that linear networks are measured on."""

from dlinear.data.tasks import Task, whitened_task

__all__ = ["Task", "whitened_task"]
