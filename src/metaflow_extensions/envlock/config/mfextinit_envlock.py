"""envlock's part of Metaflow's settings: every public name here becomes one of `metaflow.metaflow_config`."""

from metaflow import metaflow_config as _metaflow_config

# Metaflow 2.19 and later: `spin` runs only these decorators.
if hasattr(_metaflow_config, "SPIN_ALLOWED_DECORATORS"):
    SPIN_ALLOWED_DECORATORS = list(_metaflow_config.SPIN_ALLOWED_DECORATORS) + ["envlock_internal"]
