"""Many runs of one configuration, to choose between them: a grid (`sweep`), and a search (`tuning`).

A folder holds what was asked for, a run folder for each point, and the results. The runs are trained one after the
other, as a training uses all cores. Whatever a kill leaves, the same call goes on with: finished runs are kept.
"""

from corolla.sweeps.results import Result
from corolla.sweeps.runner import RECORD, Sweep, planned, read_sweep, sweep, train_run

__all__ = ["RECORD", "Result", "Sweep", "planned", "read_sweep", "sweep", "train_run"]
