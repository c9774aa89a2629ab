"""How each shell is started inside an environment: what it reads, and what makes its prompt name the environment.

A shell reads its user's own files first, as always. They may put other folders before the environment's on PATH, or
activate an environment of their own, so the environment is entered again after them (`reactivate.py`). What is written
for that lies in a folder of its own, which the shell removes as soon as it has read it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KNOWN = ("bash", "zsh", "fish", "sh", "dash", "ash", "ksh", "mksh")
"""The shells whose prompt names the environment."""

_BASH = """\
if [ -r ~/.bashrc ]; then . ~/.bashrc; fi
PS1="${PS1#"${CONDA_PROMPT_MODIFIER-}"}"
eval "$(%(again)s posix)"
%(remove)s
if [ -z "${VIRTUAL_ENV_DISABLE_PROMPT-}" ]; then
    __envlock_prompt() { case "$PS1" in %(prompt)s*) ;; *) PS1=%(prompt)s"$PS1" ;; esac }
    case "$(declare -p PROMPT_COMMAND 2>/dev/null)" in
        "declare -a"*) PROMPT_COMMAND+=(__envlock_prompt) ;;
        *) PROMPT_COMMAND="${PROMPT_COMMAND:+$PROMPT_COMMAND
}__envlock_prompt" ;;
    esac
fi
"""

_SH = """\
%(before)s
eval "__envlock_rc=\\"${ENV-}\\""
if [ -r "$__envlock_rc" ]; then . "$__envlock_rc"; fi
unset __envlock_rc
eval "$(%(again)s posix)"
%(remove)s
if [ -z "${VIRTUAL_ENV_DISABLE_PROMPT-}" ]; then PS1=%(prompt)s"${PS1-\\$ }"; fi
"""

# The folder is zsh's ZDOTDIR until its last file is read: no option names another file to read.
_ZSHENV = """\
%(before)s
if [[ -r ${ZDOTDIR:-$HOME}/.zshenv ]]; then source ${ZDOTDIR:-$HOME}/.zshenv; fi
if [[ -o interactive ]]; then
    __envlock_zdotdir=(${ZDOTDIR+"$ZDOTDIR"})
    ZDOTDIR=%(folder)s
else
    eval "$(%(again)s posix)"
    %(remove)s
fi
"""

_ZSHRC = """\
if (( $#__envlock_zdotdir )); then ZDOTDIR=$__envlock_zdotdir[1]; else unset ZDOTDIR; fi
unset __envlock_zdotdir
if [[ ${HISTFILE-} == %(folder)s/* ]]; then HISTFILE=${ZDOTDIR:-$HOME}/${HISTFILE:t}; fi
if [[ -r ${ZDOTDIR:-$HOME}/.zshrc ]]; then source ${ZDOTDIR:-$HOME}/.zshrc; fi
PROMPT="${PROMPT#"${CONDA_PROMPT_MODIFIER-}"}"
eval "$(%(again)s posix)"
%(remove)s
if [[ -z ${VIRTUAL_ENV_DISABLE_PROMPT-} ]]; then
    __envlock_prompt() { [[ $PROMPT == %(prompt)s* ]] || PROMPT=%(prompt)s$PROMPT }
    precmd_functions+=(__envlock_prompt)
fi
"""

_FISH = """\
%(again)s fish | source
if status is-interactive; and test -z "$VIRTUAL_ENV_DISABLE_PROMPT"
    functions -q fish_prompt; or function fish_prompt; echo '> '; end
    functions -c fish_prompt __envlock_prompt
    function fish_prompt
        set -l before $status
        printf '%%s' %(prompt)s
        echo "exit $before" | source
        __envlock_prompt
    end
end
"""


def command_line(
    shell: str,
    prefix: str,
    name: str,
    variables: dict[str, str],
    *,
    interactive: bool,
    folder: Callable[[], str],
    keep_pythonpath: bool = False,
) -> list[str]:
    """The command line that starts `shell` in the environment; `variables` gets what it needs beside.

    A `PYTHONPATH` that the user's own files set is kept only with `keep_pythonpath`; else it is again what `variables`
    has. `folder` makes the new, private folder that the shell removes. An unknown shell is started as it is.

    Raises OSError where there is no room for the folder.
    """
    kind = os.path.basename(shell).lstrip("-")
    words = {
        "prompt": quoted(f"({_readable(name)}) "),
        "again": _again(prefix, "" if keep_pythonpath else f"={variables.get('PYTHONPATH', '')}"),
    }
    if kind == "fish":
        return [shell, "--init-command", _FISH % words]
    if kind == "zsh":
        _into(folder(), words, variables, "ZDOTDIR", {".zshenv": _ZSHENV, ".zshrc": _ZSHRC})
    elif interactive and kind == "bash":
        place = _into(folder(), words, {}, "", {"bashrc": _BASH})
        return [shell, "--rcfile", f"{place}/bashrc", "-i"]
    elif interactive and kind in KNOWN:
        place = _into(folder(), words, variables, "ENV", {"rc": _SH})
        variables["ENV"] = f"{place}/rc"
    return [shell, "-i"] if interactive and kind in KNOWN else [shell]


def quoted(text: str) -> str:
    r"""The text as one word of a shell that knows POSIX quotes.

    >>> print(quoted("it's"))
    'it'\''s'
    """
    return "'" + text.replace("'", "'\\''") + "'"


def _into(folder: str, words: dict[str, str], variables: dict[str, str], variable: str, texts: dict[str, str]) -> str:
    """Write the files, and let `variable` name the folder; they give it back the value that it has now."""
    before = f"{variable}={quoted(variables[variable])}" if variable in variables else f"unset {variable}"
    words = {**words, "before": before, "folder": quoted(folder), "remove": f"command rm -rf {quoted(folder)}"}
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text % words)
    if variable:
        variables[variable] = folder
    return folder


def _again(prefix: str, pythonpath: str) -> str:
    """The command that tells a shell how to enter the environment again, whatever Python finds set around it."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    program = (
        "import sys; root, *sys.argv[1:] = sys.argv[1:]; sys.path.insert(0, root); "
        "from envlock.cli.light.reactivate import main; main()"
    )
    arguments = map(quoted, (program, root, prefix, pythonpath))
    return " ".join([quoted(sys.executable), "-I", "-S", "-B", "-c", *arguments])


def _readable(name: str) -> str:
    """The name without what a shell would expand in a prompt.

    >>> _readable("Train/start"), _readable("a$(b)%")
    ('Train/start', 'a__b__')
    """
    return "".join(each if each.isalnum() or each in "/._-+ " else "_" for each in name)
