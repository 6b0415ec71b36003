"""The alignment engine: horizon gradients of linear networks and the angle between them, at any depth."""

from dlinear.engine.angle import AlignmentProfile
from dlinear.engine.backends import backend_for
from dlinear.engine.options import Engine
from dlinear.engine.parallel.threads import Threads
from dlinear.engine.rule import HorizonRule

__all__ = ["AlignmentProfile", "Engine", "HorizonRule", "Threads", "backend_for"]
