"""The page of a card: what is known of an environment, as components of Metaflow's own cards."""

import sys

from metaflow.plugins.cards.card_modules.basic import (
    BlankCard,
    MarkdownComponent,
    SectionComponent,
    TableComponent,
)

from .environment import identity_of, is_here, packages_in, python_here, today_of


def show(task, sections, graph):
    """The HTML of a card."""
    _, _, step, _ = task.pathspec.split("/")
    return BlankCard(options={"title": "Environment of %s" % step}, components=sections, graph=graph).render(task)


def sections_of_task(task):
    """What a card says of the environment of a task, as rendered components."""
    identity = identity_of(task)
    flow, _, step, _ = task.pathspec.split("/")
    if identity is None:
        return [_text("`%s` has no environment: it ran in the interpreter that started the flow." % step)]
    facts = [
        ["Ran as", task.pathspec],
        ["req_id", identity.req_id],
        ["full_id", identity.full_id],
        ["Arch", identity.arch],
    ]
    if not is_here(identity):
        sentence = "This card was not made in the environment of its task, so its packages are not listed here."
        return [_facts(facts), _text(sentence)]
    facts.append(["Python", python_here()])
    today = today_of("%s/%s" % (flow, step), identity)
    if today.aliases:
        facts.append(["Alias", ", ".join(today.aliases)])
    return [_facts(facts), _changes(today), table_of_packages()]


def table_of_packages(names=None):
    """The packages of the environment of this process, as a rendered component: all, or those of some names."""
    wanted = None if names is None else {_plain(name) for name in names}
    found = [each for each in packages_in(sys.prefix) if wanted is None or _plain(each.name) in wanted]
    title = "%d package%s" % (len(found), "" if len(found) == 1 else "s")
    rows = [list(each) for each in found] or [["-", "-", "-"]]
    return _section(title, TableComponent(headers=["Package", "Version", "From"], data=rows).render())


def _changes(today):
    if today.reason:
        return _section("Current lock", _text("Not compared: %s." % today.reason))
    if not today.changes:
        return _section("Current lock", _text("The same as what this task ran in."))
    rows = [[name, before or "-", after or "-"] for name, before, after in today.changes]
    table = TableComponent(headers=["Package", "In this task", "Today"], data=rows).render()
    return _section("Current lock: %d change%s" % (len(rows), "" if len(rows) == 1 else "s"), table)


def _facts(rows):
    return TableComponent(headers=["Environment", ""], data=rows).render()


def _section(title, component):
    return SectionComponent(title=title, contents=[component]).render()


def _text(sentence):
    return MarkdownComponent(text=sentence).render()


def _plain(name):
    return name.lower().replace("_", "-").replace(".", "-")
