"""envlock's plugins of Metaflow.

An exception here would break `import metaflow` for every flow of this Python, so this imports nothing that can fail.
"""

from importlib.util import find_spec as _find_spec
from os import environ as _environ

ENVIRONMENTS_DESC = []
STEP_DECORATORS_DESC = []
DATASTORES_DESC = []

if _find_spec("metaflow.packaging_sys") is not None:  # `--environment=envlock` needs Metaflow 2.16 or later
    ENVIRONMENTS_DESC = [("envlock", ".envlock_environment.EnvlockEnvironment")]
    STEP_DECORATORS_DESC = [("envlock_internal", ".envlock_decorator.EnvlockInternalDecorator")]

    if "METAFLOW_EXTRACTED_ROOT" in _environ:  # in a task
        from .node.libraries import has_manifest as _has_manifest
        from .node.libraries import lacks as _lacks

        if _has_manifest(_environ) and _lacks("boto3"):
            DATASTORES_DESC = [("s3", ".plain_datastore.S3Storage")]
