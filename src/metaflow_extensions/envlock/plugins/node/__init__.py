"""Task start on a node: the machine or container where a scheduler starts a task.

It has an image's Python, what Metaflow installs there and the code package, and no envlock. Standard library only, for
Python 3.8; Metaflow is imported only where its settings of the cache's client are not plain, and not at all where
the environment is there already.
"""

ON_THE_WAY = [
    "__init__",
    "__main__",
    "enter",
    "errors",
    "home",
    "kept",
    "machine",
    "manifest",
    "prepare",
    "report",
    "stage",
    "start",
    "values",
]
"""The modules that a task imports which waits for its environment, or finds it: code packages have their bytecode."""
