"""envlock's plugins of Metaflow.

An exception here would break `import metaflow` for every flow of this Python, so this imports nothing that can fail.
"""

from importlib.util import find_spec as _find_spec

ENVIRONMENTS_DESC = []
STEP_DECORATORS_DESC = []

if _find_spec("metaflow.packaging_sys") is not None:  # `--environment=envlock` needs Metaflow 2.16 or later
    ENVIRONMENTS_DESC = [("envlock", ".envlock_environment.EnvlockEnvironment")]
    STEP_DECORATORS_DESC = [("envlock_internal", ".envlock_decorator.EnvlockInternalDecorator")]
