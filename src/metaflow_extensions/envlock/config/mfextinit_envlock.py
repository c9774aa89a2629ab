"""What envlock adds to Metaflow's settings. Every public name here becomes one of `metaflow.metaflow_config`."""

from metaflow import metaflow_config as _metaflow_config

# `spin` runs no other decorators than these; the name is one of Metaflow 2.19 and later.
if hasattr(_metaflow_config, "SPIN_ALLOWED_DECORATORS"):
    SPIN_ALLOWED_DECORATORS = list(_metaflow_config.SPIN_ALLOWED_DECORATORS) + ["envlock_internal"]
