"""Writes envlock.toml: adds and removes packages, adds `[env.*]` tables, makes a first file."""
