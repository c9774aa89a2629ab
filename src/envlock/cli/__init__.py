"""The command line: one module a command, with its declaration, what it does, and how it shows the result."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.cli.command import Command, Group

PANELS = {
    "Set up": ("init", "migrate", "add", "remove", "schema", "config"),
    "Lock": ("lock", "check", "outdated", "build", "import", "export"),
    "Look": ("show", "list", "diff", "tree", "why"),
    "Cache": ("push", "image", "get", "alias", "cache"),
    "Run": ("run", "shell", "create", "path", "verify", "sync", "kernel"),
    "This machine": ("env", "doctor"),
    "Help": ("help",),
}
"""The commands as `envlock --help` lists them: each is what a module of its name declares under that name."""


def module_of(name: str) -> str:
    """The module of a command, which is also what it is called there: no module can be called `import`.

    >>> module_of("lock"), module_of("import")
    ('lock', 'import_')
    """
    return f"{name}_" if name in {"import", "help", "list"} else name


def declared(name: str) -> Command | Group:
    """The declaration in the module of a command."""
    module = module_of(name)
    found: Command | Group = getattr(__import__(f"envlock.cli.{module}", fromlist=[module]), module)
    return found
