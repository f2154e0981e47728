"""What a trial's process imports, for Ray to import beside the driver's work."""

from coconut.importing import importing

with importing():
    import coconut.sweep.ray
    import coconut.sweep.worker  # noqa: F401
