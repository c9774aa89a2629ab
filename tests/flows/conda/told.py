"""What a task sees of its environment, and what a process that it starts sees."""


def what_is_here():
    import json
    import os
    import shutil
    import subprocess
    import sys

    from metaflow import current

    try:
        import alpha
    except ImportError:
        alpha = None
    identity = getattr(current, "envlock", None)
    code = "import json, os, sys; print(json.dumps([sys.prefix, dict(os.environ)]))"
    sibling, below = json.loads(subprocess.check_output(["python", "-c", code], text=True))
    return {
        "prefix": sys.prefix,
        "executable": sys.executable,
        "identity": list(identity) if identity else None,
        "alpha": getattr(alpha, "__version__", None),
        "speak": shutil.which("speak"),
        "variables": dict(os.environ),
        "sibling": sibling,
        "below": below,
        "sys_path": list(sys.path),
    }
