"""Pods, and plain Metaflow on the backends that start them."""

from tests.pods.fixtures import backends_of, kind

__all__ = ["backends_of", "kind"]

collect_ignore_glob = ["plain/*"]
