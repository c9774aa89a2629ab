"""Requirement files, which envlock.toml names: requirements.txt, environment.yml, pyproject.toml."""
