"""Reads Python files with flows: their steps, and what their decorators ask for. Never imports or runs them."""
