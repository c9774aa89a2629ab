"""Frozen values of the domain: requirements, locks, artifacts, and their ids. No I/O."""
