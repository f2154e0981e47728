"""A sweep: many fits of one job as Ray Tune trials, searched by Optuna, told to MLflow, resumable after any kill."""

DEFAULT_SPACE = "coconut.sweep.space:voices"  # what is searched, unless told otherwise
SEARCHED = ("es.", "space.", "loss.", "window.")  # groups of settings that a space may ask for
