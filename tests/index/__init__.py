"""A package index of our own: real wheels, served on loopback, with everything that can go wrong with one."""

from __future__ import annotations

from tests.index.catalogue import CATALOGUE
from tests.index.recipe import Artifact, Release
from tests.index.server import DROP, Index, Request

__all__ = ["CATALOGUE", "DROP", "Artifact", "Index", "Release", "Request"]
