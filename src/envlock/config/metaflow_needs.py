"""The packages that Metaflow imports inside a step, by datastore: without them, the step cannot start.

The lists are those of Metaflow's own conda environments (`metaflow_config.get_pinned_conda_libs`). They are copied here
because locking runs without Metaflow. A test runs a step with nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from envlock.model.requirement import PypiRequirement, parse_requirement

_ALWAYS = ("requests>=2.21.0",)

NEEDS: dict[str, tuple[str, ...]] = {
    "local": (),
    "s3": ("boto3>=1.14.0",),
    "azure": (
        "azure-identity>=1.10.0",
        "azure-storage-blob>=12.12.0",
        "azure-keyvault-secrets>=4.7.0",
        "simple-azure-blob-downloader>=0.1.0",
    ),
    "gs": (
        "google-cloud-storage>=2.5.0",
        "google-auth>=2.11.0",
        "google-cloud-secret-manager>=2.10.0",
        "simple-gcp-object-downloader>=0.1.0",
        "packaging>=24.0",
    ),
}


def metaflow_requirements(datastores: Iterable[str]) -> tuple[PypiRequirement, ...]:
    """The requirements of steps with these datastores (`local`, `s3`, `azure`, `gs`), sorted.

    >>> [str(requirement) for requirement in metaflow_requirements(["s3"])]
    ['boto3>=1.14.0', 'requests>=2.21.0']
    """
    texts = {*_ALWAYS, *(text for datastore in datastores for text in NEEDS[datastore])}
    return tuple(parse_requirement(text) for text in sorted(texts))
