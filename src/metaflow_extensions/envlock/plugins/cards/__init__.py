"""The card of a task's environment, `@card(type="envlock")`, and its table, for cards of other types.

Metaflow imports this in every process, so what makes the page is imported when there is one to make. Standard library
and Metaflow only: cards are made in the environment of their task, which need not have envlock.
"""

from metaflow.plugins.cards.card_modules.card import MetaflowCard, MetaflowCardComponent


class EnvlockCard(MetaflowCard):
    """The environment of a task: its Python, its packages, its ids, and how today's lock differs.

    Components that the step adds to the card follow below.
    """

    type = "envlock"
    ALLOW_USER_COMPONENTS = True

    def __init__(self, options=None, components=(), graph=None, **_):
        self._options = options or {}
        self._components = list(components)
        self._graph = graph

    def render(self, task):
        from .page import sections_of_task, show

        return show(task, sections_of_task(task) + self._components, self._graph)


class EnvlockTable(MetaflowCardComponent):
    """The packages of the environment that this process runs in, as a table of any card that takes components.

    `current.card.append(EnvlockTable())`. `packages` limits it to some, by their names.
    """

    def __init__(self, packages=None):
        self._packages = packages

    def render(self):
        from .page import table_of_packages

        return table_of_packages(self._packages)


CARDS = [EnvlockCard]
