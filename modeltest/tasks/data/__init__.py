"""Finding a task's clips and their labels in a data folder."""

from modeltest.tasks.data.found import Listing, Problem, report_problems
from modeltest.tasks.data.listing import find_samples

__all__ = ["Listing", "Problem", "find_samples", "report_problems"]
