"""The command line: one module a command, with its declaration, what it does, and how it shows the result."""

PANELS = {
    "Set up": ("init", "migrate", "add", "remove", "schema"),
    "Lock": ("lock", "check", "build", "import", "export"),
    "Look": ("show",),
    "Cache": ("push", "get", "alias", "cache"),
    "Run": ("run", "shell", "create", "path", "verify", "sync"),
}
"""The commands as `envlock --help` lists them: each is what a module of its name declares under that name."""


def module_of(name: str) -> str:
    """The module of a command, which is also what it is called there: no module can be called `import`.

    >>> module_of("lock"), module_of("import")
    ('lock', 'import_')
    """
    return f"{name}_" if name == "import" else name
