"""Training from scratch at many rates and seeds at once: tasks, the joint models, one record a method.

`sims.anchored_training` has the question, the knobs and the verdicts.
"""

from dlinear.bridge.from_scratch.cells import METERS, TRAIN, Cell, compute
from dlinear.bridge.from_scratch.tasks import TASKS, Problem, images, problem
from dlinear.bridge.from_scratch.training import check_method

__all__ = ["METERS", "TASKS", "TRAIN", "Cell", "Problem", "check_method", "compute", "images", "problem"]
