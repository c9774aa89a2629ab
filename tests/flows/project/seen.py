"""What a task sees of its environment."""


def what_is_here():
    import os
    import sys

    from metaflow import current

    try:
        import alpha
    except ImportError:
        alpha = None
    identity = getattr(current, "envlock", None)
    return {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "alpha": getattr(alpha, "__version__", None),
        "prefix": sys.prefix,
        "identity": list(identity) if identity else None,
        "req_id": identity.req_id if identity else None,
        "first_on_path": os.environ["PATH"].split(os.pathsep)[0],
        "virtual_env": os.environ.get("VIRTUAL_ENV"),
        "sys_path": list(sys.path),
        "entered_by_itself": os.environ.get("_METAFLOW_ENVLOCK_ENTERED", "").startswith(str(os.getpid()) + ":"),
        "variables": {name: os.environ.get(name) for name in ("SAID_BY_THE_FLOW", "HOME")},
        "options": {"debug": __debug__, "pdb": "pdb" in sys.modules},
    }
