"""The canonical text of a lock file, for its writer (`document`) and its fast reader (`summary`).

A file is a header comment, a *body*, and a *stamp*. The body is the lock's content in its one canonical spelling;
`digest` is the SHA-256 of the body. The stamp holds the digest, who locked and when, which belong to no id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from envlock.model.arch import MARKER_VALUES, Arch
from envlock.model.identity import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.model.identity import Plain

FORMAT = 1
"""Of a lock whose packages are all wheels."""
CONDA_FORMAT = 2
"""Of a lock with conda packages."""
BUILT_FORMAT = 3
"""Of a lock with a wheel that was built, or with requirements that older formats cannot hold; the highest there is."""
STAMP = "\n[tool.envlock.stamp]\n"
TAIL = "\n[tool.envlock]\n"
REQUIREMENTS = "\n[tool.envlock.requirements]\n"
CONDA = "]\n\n[tool.envlock.conda]\npackages = [\n"
"""What stands between the wheels and the conda packages."""
_CONFLICT = r"^(<{7,} |={7,}$|>{7,} )"
"""The conflict markers of a merge, in a lock or a pin. Git's are longer where two branches renamed a file."""

_OF_FORMAT_3 = re.compile(r"[^ ]+ @ (?:git|folder|file)\+").match
"""A requirement that no older format can hold."""
KEYS_OF_FORMAT_3 = ("constraints", "hashes", "find-links", "variables", "overrides")
"""The keys of requirements that no older format can hold."""
MARKERS: dict[Arch, str] = {
    arch: f"sys_platform == '{values['sys_platform']}' and platform_machine == '{values['platform_machine']}'"
    for arch, values in MARKER_VALUES.items()
}
_STRING = r'"(?:[^"\\\x00-\x1f\x7f]|\\["\\ntr]|\\u00[017][0-9a-f])*"'
"""As `quoted` spells them."""
_STAMP_LINES = re.compile(
    rf'\ndigest = "[0-9a-f]{{64}}"\nasked-by = \[(?:{_STRING}(?:, |(?=\])))*\]\n'
    rf"resolved-by = {_STRING}\nresolved-at = {_STRING}\n"
)
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quoted(text: str) -> str:
    r"""A string as TOML spells it.

    >>> print(quoted('a "word"'), quoted("a\tb\0"))
    "a \"word\"" "a\tb\u0000"
    """
    if is_plain(text) or _UNSAFE.search(text) is None:
        return f'"{text}"'
    return '"' + _UNSAFE.sub(lambda match: _ESCAPES.get(match[0], f"\\u{ord(match[0]):04x}"), text) + '"'


def array(items: Iterable[str]) -> str:
    """Strings as a TOML array on one line.

    >>> print(array(["a", "b"]))
    ["a", "b"]
    """
    texts = list(items)
    if texts and is_plain("".join(texts)):
        return '["' + '", "'.join(texts) + '"]'
    return f"[{', '.join(map(quoted, texts))}]"


def is_plain(text: str) -> bool:
    """Whether a text is spelt as it is, for sure: a third of what the expression costs."""
    return text.isprintable() and '"' not in text and "\\" not in text


def format_of(*, has_conda: bool, has_source: bool, document: Mapping[str, Plain]) -> int:
    """The lowest format that can hold a lock with these packages and this document of requirements.

    >>> format_of(has_conda=False, has_source=False, document={"pypi": ["demo @ https://files.example/demo-1.tar.gz"]})
    1
    >>> format_of(has_conda=True, has_source=False, document={"pypi": ["demo @ git+https://code.example/demo"]})
    3
    >>> format_of(has_conda=True, has_source=False, document={"conda": ["libgcc >=13 ; linux-64"]})
    3
    """
    lists = [document.get(key) for key in ("pypi", "conda", "conda-only")]
    pypi, *conda = ([*map(str, each)] if isinstance(each, list) else [] for each in lists)
    has_new = any(map(_OF_FORMAT_3, pypi)) or any(" ; " in text for texts in conda for text in texts)
    if has_source or has_new or any(key in document for key in KEYS_OF_FORMAT_3):
        return BUILT_FORMAT
    return CONDA_FORMAT if has_conda else FORMAT


def head_of(arch: Arch, python_source: str, python_version: str) -> str:
    """How the body of a lock begins."""
    return (
        f'lock-version = "1.0"\nenvironments = ["{MARKERS[arch]}"]\n'
        f'requires-python = "{requires_python(python_source, python_version)}"\n'
        'created-by = "envlock"\n\npackages = [\n'
    )


def tail_of(
    number: int, arch: str, kind: str, ids: tuple[str, str], exclude_newer: str, python: Mapping[str, str]
) -> str:
    """How the body of a lock goes on after its packages, up to its requirements.

    `number` is that of the format, `kind` the environment's type, `ids` are req_id and full_id, `python` is the table
    of its Python.
    """
    lines = [
        f"format = {number}",
        f"arch = {quoted(arch)}",
        f"type = {quoted(kind)}",
        f"req-id = {quoted(ids[0])}",
        f"full-id = {quoted(ids[1])}",
    ]
    if exclude_newer:
        lines.append(f"exclude-newer = {quoted(exclude_newer)}")
    lines += ["", "[tool.envlock.python]", *(f"{key} = {quoted(value)}" for key, value in python.items() if value)]
    return TAIL + "\n".join(lines) + "\n"


def table_lines(document: Mapping[str, Plain]) -> Iterator[str]:
    """The lines of a table of requirements; what is empty is left out, but for `system`.

    >>> list(table_lines({"python": "", "pypi": ["alpha"], "system": [["linux-64", "__glibc", "2.28"]]}))
    ['pypi = ["alpha"]', 'system = [["linux-64", "__glibc", "2.28"]]']
    """
    for key, value in document.items():
        if isinstance(value, str) and value:
            yield f"{key} = {quoted(value)}"
        elif isinstance(value, list) and (value or key == "system"):
            rows = [array(map(str, each)) if isinstance(each, list) else quoted(str(each)) for each in value]
            yield f"{key} = [{', '.join(rows)}]"


def body_of(text: str) -> str:
    """The part of a file's text that the digest covers, as it stands: after the header comment, before the stamp.

    A comment that holds what envlock writes in none, and TOML may not allow, is no header.
    """
    start = 0
    while text.startswith("#", start):
        end = text.find("\n", start)
        if end < 0:
            return ""
        if not text[start:end].isprintable():
            break
        start = end + 1
    stamp = text.rfind(STAMP)
    return text[start:stamp] if stamp >= 0 else text[start:]


def ends_with_stamp(text: str) -> bool:
    """Whether a file's text ends as envlock writes it: the four lines of the stamp, in TOML, and nothing else."""
    stamp = text.rfind(STAMP)
    return stamp >= 0 and _STAMP_LINES.fullmatch(text, stamp + len(STAMP) - 1) is not None


def digest_of(body: str) -> str:
    """The SHA-256 of a body, 64 hex digits."""
    return sha256(body.encode())


def requires_python(source: str, version: str) -> str:
    """The Pythons that may run a lock, as PEP 751 states them.

    >>> requires_python("machine", "3.12.4"), requires_python("machine", "3.12.0"), requires_python("uv", "3.12.16")
    ('==3.12.*,>=3.12.4', '==3.12.*', '==3.12.16')
    """
    if source != "machine":
        return f"=={version}"
    series = ".".join(version.split(".")[:2])
    return f"=={series}.*" + ("" if version.endswith(".0") else f",>={version}")


def conflict_line(text: str) -> int | None:
    r"""The line of the first conflict marker of git in a text; None where there is none.

    >>> conflict_line("a = 1\n<<<<<<< HEAD\n"), conflict_line("a = 1\n")
    (2, None)
    """
    if not any(mark in text for mark in ("<" * 7, "=" * 7, ">" * 7)):  # a tenth of what the expression costs
        return None
    marker = re.search(_CONFLICT, text, re.MULTILINE)
    return text.count("\n", 0, marker.start()) + 1 if marker is not None else None


def filename_of(url: str) -> str:
    """The file name that a URL ends in, its percent signs resolved.

    >>> filename_of("https://index.example/a/torch-2.0%2Bcpu-py3-none-any.whl")
    'torch-2.0+cpu-py3-none-any.whl'
    """
    last = url[url.rfind("/") + 1 :]
    if "%" not in last:
        return last
    from urllib.parse import unquote

    return unquote(last)
