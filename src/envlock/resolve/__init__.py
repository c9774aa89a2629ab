"""Resolving: requirements into a lock. Reads indexes and channels, and downloads no package."""
