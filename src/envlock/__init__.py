"""Locked environments for Metaflow steps, from one configuration file."""

__version__ = "0.1.0"
