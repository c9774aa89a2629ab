"""The command line: one module a command, each parses, calls the workflow, and renders."""
