"""Conda channels of our own: real packages, served on loopback, with everything that can go wrong with them."""

from __future__ import annotations

from tests.channel.built import built_channels, copy_channels
from tests.channel.recipe import (
    PLACEHOLDER,
    Dist,
    File,
    Package,
    compiled_package,
    data_package,
    python_package,
)
from tests.channel.server import DROP, Channel, Credentials, Request

__all__ = [
    "DROP",
    "PLACEHOLDER",
    "Channel",
    "Credentials",
    "Dist",
    "File",
    "Package",
    "Request",
    "built_channels",
    "compiled_package",
    "copy_channels",
    "data_package",
    "python_package",
]
