"""Locked environments for Metaflow steps, from one configuration file.

What a script imports is in `__all__`, and stays as the commands do. Every other module is internal.

>>> import envlock
>>> envlock.Selection(environments=("demo",)).is_everything
False
"""

TYPE_CHECKING = False  # as typing has it, whose import would cost every command some milliseconds
if TYPE_CHECKING:
    from envlock.config.project import Environment, Project
    from envlock.config.read import load_project
    from envlock.config.selection import Selection
    from envlock.errors import EnvlockError
    from envlock.model.arch import host_arch
    from envlock.model.lock import Lock, LockedPackage
    from envlock.reporter import Reporter
    from envlock.workflow.check import CheckResult, check
    from envlock.workflow.check_rules import Finding, Verdict
    from envlock.workflow.hydrate import find_lock, hydrate
    from envlock.workflow.lock import lock
    from envlock.workflow.locking.jobs import Locked, LockResult, Upgrade

__version__ = "0.1.0"

__all__ = [
    "CheckResult",
    "Environment",
    "EnvlockError",
    "Finding",
    "Lock",
    "LockResult",
    "Locked",
    "LockedPackage",
    "Project",
    "Reporter",
    "Selection",
    "Upgrade",
    "Verdict",
    "__version__",
    "check",
    "find_lock",
    "host_arch",
    "hydrate",
    "load_project",
    "lock",
]

_MODULES = {
    "CheckResult": "workflow.check",
    "Environment": "config.project",
    "EnvlockError": "errors",
    "Finding": "workflow.check_rules",
    "Lock": "model.lock",
    "LockResult": "workflow.locking.jobs",
    "Locked": "workflow.locking.jobs",
    "LockedPackage": "model.lock",
    "Project": "config.project",
    "Reporter": "reporter",
    "Selection": "config.selection",
    "Upgrade": "workflow.locking.jobs",
    "Verdict": "workflow.check_rules",
    "check": "workflow.check",
    "find_lock": "workflow.hydrate",
    "host_arch": "model.arch",
    "hydrate": "workflow.hydrate",
    "load_project": "config.read",
    "lock": "workflow.lock",
}

if not TYPE_CHECKING:  # else every name would pass for one of this package

    def __getattr__(name: str) -> object:
        """A name of the public API, imported when it is first asked for (PEP 562): `import envlock` imports nothing."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(__import__(f"{__name__}.{_MODULES[name]}", fromlist=[name]), name)
        return value

    def __dir__() -> list[str]:
        """The names of the module, those of the API that were not imported yet among them."""
        return sorted({*globals(), *__all__})
