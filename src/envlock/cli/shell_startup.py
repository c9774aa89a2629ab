"""How each shell is started in an environment: the files that it reads, and its prompt, which names the environment.

A shell reads its user's own files first, as always. They may put other folders before the environment's on PATH, or
activate an environment of their own, so the environment is entered again after them (`print_reactivation`). What is
written for that lies in a folder of its own, which the shell removes as soon as it has read it.
"""

from __future__ import annotations

import os
import sys

from envlock.activation import STEERS_PYTHON, activated, changes, with_programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KNOWN = ("bash", "zsh", "fish", "sh", "dash", "ash", "ksh", "mksh")
"""The shells whose prompt can name the environment."""

_LISTS_OF_FISH = ("PATH", "MANPATH", "CDPATH")

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
    """The command line that starts `shell` in the environment. Adds the variables that it needs to `variables`.

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
    r"""The text as one word of a POSIX shell.

    >>> print(quoted("it's"))
    'it'\''s'
    """
    return "'" + text.replace("'", "'\\''") + "'"


def _into(folder: str, words: dict[str, str], variables: dict[str, str], variable: str, texts: dict[str, str]) -> str:
    """Write the files and set `variable` to the folder. The files restore its present value."""
    before = f"{variable}={quoted(variables[variable])}" if variable in variables else f"unset {variable}"
    words = {**words, "before": before, "folder": quoted(folder), "remove": f"command rm -rf {quoted(folder)}"}
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text % words)
    if variable:
        variables[variable] = folder
    return folder


def _again(prefix: str, pythonpath: str) -> str:
    """The command that prints how to enter the environment again, whatever Python variables are set."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    program = (
        "import sys; root, *sys.argv[1:] = sys.argv[1:]; sys.path.insert(0, root); "
        "from envlock.cli.shell_startup import print_reactivation; print_reactivation()"
    )
    arguments = map(quoted, (program, root, prefix, pythonpath))
    return " ".join([quoted(sys.executable), "-I", "-S", "-B", "-c", *arguments])


def _readable(name: str) -> str:
    """The name without characters that a shell expands in a prompt.

    >>> _readable("Train/start"), _readable("a$(b)%")
    ('Train/start', 'a__b__')
    """
    return "".join(each if each.isalnum() or each in "/._-+ " else "_" for each in name)


def print_reactivation() -> None:
    """Print the commands with which a shell enters its environment again after the user's own files.

    `sys.argv` has the prefix, PYTHONPATH after `=` or nothing, and `posix` or `fish`.
    """
    prefix, pythonpath, language = sys.argv[1:]
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    from envlock.errors import EnvlockError

    try:
        wanted = again(prefix, dict(os.environ), pythonpath)
    except EnvlockError as error:
        sys.stderr.write(f"{error.render()}\n")
        return
    for name, value in changes(os.environ, wanted).items():
        if name.isascii() and name.isidentifier():
            sys.stdout.write(f"{_command(name, value, language)}\n")


def again(prefix: str, environ: dict[str, str], pythonpath: str = "=") -> dict[str, str]:
    """The variables of a process in `prefix`; if it is in there already, only PATH and PYTHONPATH are put right.

    `pythonpath` is `=` and the value of PYTHONPATH, or empty to leave it as it is.

    >>> again("/env", {"VIRTUAL_ENV": "/env", "PATH": "/mine:/env/bin:/bin"})["PATH"]
    '/env/bin:/mine:/bin'
    """
    if prefix not in {environ.get("CONDA_PREFIX"), environ.get("VIRTUAL_ENV")}:
        return activated(prefix, environ, keep_pythonpath=not pythonpath)
    variables = {name: value for name, value in environ.items() if name not in STEERS_PYTHON}
    if pythonpath:
        variables.pop("PYTHONPATH", None)
    if pythonpath[1:]:
        variables["PYTHONPATH"] = pythonpath[1:]
    return {**variables, "PATH": with_programs(prefix, variables)}


def _command(name: str, value: str | None, language: str) -> str:
    r"""The command that sets or unsets one variable.

    >>> print(_command("A", "it's", "posix"), _command("PATH", "/a:/b", "fish"), sep=chr(10))
    export A='it'\''s'
    set -gx PATH '/a' '/b'
    """
    if language == "posix":
        return f"unset {name}" if value is None else f"export {name}={quoted(value)}"
    if value is None:
        return f"set -e {name}"
    words = value.split(":") if name in _LISTS_OF_FISH else [value]
    escaped = (word.replace("\\", "\\\\").replace("'", "\\'") for word in words)
    return f"set -gx {name} " + " ".join(f"'{word}'" for word in escaped)
