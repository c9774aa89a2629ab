"""A prefix that is there under a name, with conda's ways of changing what a process in it sees."""

from __future__ import annotations

import json
from pathlib import Path

from envlock.hydration.prefix import Receipt, signature, write_receipt
from envlock.interpreters import find_interpreter
from envlock.places import home


def named_prefix(name: str, *, conda: bool = True, script: str = 'export FROM_SCRIPT="a b"\n') -> Path:
    """A prefix of nothing but an interpreter, and what is asked of it; `--name` finds it."""
    from envlock.interpreters import machine_series

    prefix = home() / "environments" / f"metaflow_{name}"
    python = find_interpreter(machine_series()[0], lambda _: True)
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(python.path)
    if conda:
        for file, text in {
            "conda-meta/history": "",
            "etc/conda/activate.d/a.sh": script,
            "etc/conda/env_vars.d/a.json": json.dumps({"FROM_FILE": "of the package"}),
        }.items():
            (prefix / file).parent.mkdir(parents=True, exist_ok=True)
            (prefix / file).write_text(text)
    marker = Receipt("0" * 40, name * 2, "linux-64", str(python.path), python.version, signature(python.path))
    write_receipt(prefix, marker)
    link = home() / "named" / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(prefix)
    return prefix
