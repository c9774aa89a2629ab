"""The command line: one module a command, with its declaration, what it does, and how it shows the result."""

PANELS = {
    "Set up": ("init", "add", "remove", "schema"),
    "Lock": ("lock", "check", "show", "export"),
    "Cache": ("push", "get", "alias", "cache"),
    "Run": ("run", "shell", "create", "path", "verify"),
}
"""The commands as `envlock --help` lists them: each is what a module of its name declares under that name."""
