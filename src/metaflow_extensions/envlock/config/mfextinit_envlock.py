"""envlock's part of Metaflow's settings: every public name here becomes one of `metaflow.metaflow_config`."""

from os import environ as _environ

from metaflow import metaflow_config as _metaflow_config

if "METAFLOW_EXTRACTED_ROOT" in _environ:  # in a task
    from ..plugins.node.libraries import stand_in_for_requests as _stand_in_for_requests

    _stand_in_for_requests()

# Metaflow 2.19 and later: `spin` runs only these decorators.
if hasattr(_metaflow_config, "SPIN_ALLOWED_DECORATORS"):
    SPIN_ALLOWED_DECORATORS = list(_metaflow_config.SPIN_ALLOWED_DECORATORS) + ["envlock_internal"]
