"""Decorators of other environments that a flow still has: Metaflow refuses them, and does not say where they are.

Standard library only: imported where a flow has some.
"""

import ast
import inspect
import os

from .envlock_environment import EnvlockException


def refusal(flow, steps, of_flow):
    """The error for a flow with such decorators: `steps` has their names by step, `of_flow` those of the flow."""
    found = []
    for name in of_flow:
        of_classes = [each for owner in type(flow).__mro__[:-2] for each in _places(owner, [name], owner.__name__)]
        found += of_classes or [("", 0, name, flow.name)]
    for step, names in steps.items():
        found += _places(getattr(type(flow), step), names, step)
    lines = ["%s@%s of %s" % ("%s:%d: " % place[:2] if place[0] else "", *place[2:]) for place in sorted(set(found))]
    return EnvlockException(
        "the flow still has decorators of another environment, with which Metaflow refuses to start it\n  %s\n\n"
        "hint: `envlock migrate --apply` copies what they require into envlock.toml and deletes them"
        % "\n  ".join(lines)
    )


def _places(thing, names, called):
    """These decorators of a step or a class: file, line, name, and what they are of. No file if there is no source."""
    places = []
    try:
        file = inspect.getsourcefile(thing)
        with open(file, encoding="utf-8") as source:
            tree = ast.parse(source.read())
    except (OSError, TypeError, ValueError, SyntaxError):
        return [] if inspect.isclass(thing) else [("", 0, name, called) for name in names]
    first = None if inspect.isclass(thing) else thing.__code__.co_firstlineno
    for node in ast.walk(tree):
        decorators = getattr(node, "decorator_list", [])
        is_it = decorators and node.name == called
        if is_it and (first is None or min(each.lineno for each in decorators) <= first <= node.lineno):
            places += [
                (os.path.basename(file), each.lineno, _name(each), called)
                for each in decorators
                if _name(each) in names
            ]
    if not places and first is not None:  # imported under another name
        places = [(os.path.basename(file), first, name, called) for name in names]
    return places


def _name(decorator):
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
