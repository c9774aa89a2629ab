"""Everything that can be wrong with the text of envlock.toml: each with its code, its place, and the facts it tells."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from envlock.config.read import load_project
from envlock.config.validate import explain
from envlock.errors import ConfigError, EnvlockError, Location, ManyErrors

PATH = Path("/somewhere/envlock.toml")


class Wrong(NamedTuple):
    """One error: its code, the line and the key of its first place, and what its text has to name."""

    code: str
    line: int | None
    key: str
    facts: tuple[str, ...]


def wrong(code: str, line: int | None, key: str, *facts: str) -> Wrong:
    return Wrong(code, line, key, facts)


def errors_of(source: str | bytes) -> tuple[EnvlockError, ...]:
    """What the reader finds wrong with a text."""
    with pytest.raises((ConfigError, ManyErrors)) as caught:
        explain(source, PATH)
    return caught.value.errors if isinstance(caught.value, ManyErrors) else (caught.value,)


def told(source: str | bytes) -> str:
    """What the reader says about a text."""
    with pytest.raises((ConfigError, ManyErrors)) as caught:
        explain(source, PATH)
    return caught.value.render()


GOOD = """\
[envlock]
archs = ["linux-64", "osx-arm64"]
cache = "s3://team/envlock"
cache-options = { endpoint = "https://objects.example:9000", region = "eu-1", profile = "team", anonymous = true }
exclude-newer = 2026-11-01
python-from = "uv"
index-url = "https://index.example/simple/"
extra-indices = ["https://${USER}:${TOKEN}@index.example/simple/", "http://127.0.0.1:8000/simple"]
hosts = ["index.example", "*.files.example:8443"]
allow-older = ["hydra-core", "Zope.Interface"]
datastore = ["local", "s3"]
metaflow-requirements = false
system-requirements = { linux-64 = { __glibc = "2.28" }, osx-arm64 = { __osx = "13.0" } }
python-mirror = "https://mirror.example/python"
channels = ["conda-forge", "https://${USER}:${TOKEN}@conda.example/team", "s3://bucket/channel"]
channel-priority = "disabled"
channel-mirrors = { conda-forge = "https://mirror.example/conda-forge" }
link-scripts = ["font-ttf-ubuntu"]
compile-bytecode = true
resolver = { conda = "conda-lock", pypi = "pip-tools" }
use-remote-latest = ["mia", "joe"]
remote = false
remote-python = "kit"
push-on-deploy = true
keep-on-node = "1.5 TB"
pack = "auto"

[flow.TrainFlow]
file = "train_flow.py"
steps = ["start", "train", "score", "end"]
pypi = { python = ">=3.11,<3.12", packages = { pandas = "2.2.3", "requests[socks]" = ">=2 ; sys_platform == 'linux'" } }
conda = { libraries = { "conda-forge::ffmpeg" = "" }, channels = ["conda-forge"], python = "3.11" }

[flow.TrainFlow.step.train]
pypi = { packages = { "demo@https://index.example/demo-1.0-py3-none-any.whl" = "", any = "*" }, extras = ["pre"] }
sys_packages = { packages = { __cuda = "12.4", __glibc = "==2.31", __linux = "5.10.1", __archspec = "x86_64_v3" } }

[flow.TrainFlow.step.score]
named_env = { pathspec = "TrainFlow/142/train", fetch_at_exec = true }

[flow.TrainFlow.step.end]
disabled = true

[env.base]
requirements = "requirements.txt"
environment-yml = "environment.yml"
aliases = ["team/base:v2"]
"""


@pytest.mark.parametrize("text", ["", "# nothing\n", GOOD, GOOD.replace("2026-11-01", '"2 weeks"')])
def test_a_right_file_is_no_error(text: str) -> None:
    explain(text, PATH)
    explain(text.encode(), PATH)
    explain(text.replace("\n", "\r\n").encode(), PATH)


BAD = {
    "not toml": (
        'title = "a"\n   broken = = 3\n',
        wrong("not-toml", 2, "", "broken = = 3\n              ^"),
    ),
    "not toml, and a credential on the line": (
        'index-url = "https://me:secret@index.example/\n',
        wrong("not-toml", 1, "", 'index-url = "https://index.example/\n'),
    ),
    "a key twice": (
        "[flow.X]\nfile = 'x.py'\nfile = 'y.py'\n",
        wrong("written-twice", 2, "flow.X.file", "file"),
    ),
    "a table twice": (
        "[flow.X.step.a]\ndisabled = true\n[env.z]\n[flow.X.step.a]\n",
        wrong("written-twice", 1, "flow.X.step.a", "a"),
    ),
    "a table that a dotted key has made": (
        "[flow.X]\nfile = 'x.py'\npypi.python = '3.12'\n[flow.X.pypi]\n",
        wrong("not-toml", 4, "", "[flow.X.pypi]\n              ^", "dotted"),
    ),
    "UTF-16 with its mark": (
        "[envlock]\n".encode("utf-16"),
        wrong("not-toml", 1, "", "UTF-16", "UTF-8"),
    ),
    "UTF-16 without its mark": (
        "[envlock]\n".encode("utf-16-le"),
        wrong("not-toml", 1, "", "NUL", "UTF-8"),
    ),
    "a table of steps that is called as the list of their names": (
        "[flow.TrainFlow]\nfile = 'x.py'\n[flow.TrainFlow.steps.train.pypi]\npackages = {}\n",
        wrong("wrong-type", 3, "flow.TrainFlow.steps", "steps", "[flow.TrainFlow.step.train]"),
    ),
    "not UTF-8": (
        b"# caf\xe9\na = 1\n",
        wrong("not-toml", 1, "", "0xe9", "UTF-8"),
    ),
    "a byte order mark": (
        "\ufeff[envlock]\n",
        wrong("not-toml", 1, "", "UTF-8", "UTF-8 with BOM"),
    ),
    "nested without end": (
        "x = " + "[" * 5000,
        wrong("not-toml", 1, "", "x = [[["),
    ),
    "an unsettled merge": (
        "[envlock]\n<<<<<<< HEAD\ncache = 'a'\n=======\ncache = 'b'\n>>>>>>> other\n",
        wrong("merge-conflict", 2, "", "envlock lock"),
    ),
    "unknown table": (
        "[flows.X]\nfile = 'x.py'\n",
        wrong("unknown-key", 1, "flows", "flows", "did you mean `flow`?"),
    ),
    "unknown key, with a near one": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.pypi]\npakages = { rich = '15' }\n",
        wrong("unknown-key", 4, "flow.X.pypi.pakages", "pakages", "[flow.X.pypi]", "did you mean `packages`?"),
    ),
    "unknown key, with none near": (
        "[env.z]\nzzz = 1\n",
        wrong("unknown-key", 2, "env.z.zzz", "zzz", "[env.z]"),
    ),
    "underscore for hyphen": (
        "[envlock]\npython_from = 'uv'\n",
        wrong("unknown-key", 2, "envlock.python_from", "python_from", "[envlock]", "did you mean `python-from`?"),
    ),
    "a key one level too high": (
        "[flow.X]\nfile = 'x.py'\npython = '3.12'\n",
        wrong("unknown-key", 3, "flow.X.python", "python", "[flow.X]", "pypi", "conda"),
    ),
    "a deprecated parameter of @conda": (
        "[flow.X]\nfile = 'x.py'\nconda.pip_packages = { rich = '15' }\n",
        wrong("unknown-key", 3, "flow.X.conda.pip_packages", "pip_packages", "[flow.X.conda]", "pypi.packages"),
    ),
    "a package one level too high": (
        "[env.z]\npypi = { rich = '>=15' }\n",
        wrong("unknown-key", 2, "env.z.pypi.rich", "rich", "[env.z.pypi]", "`pypi.packages`"),
    ),
    "a conda package one level too high": (
        "[env.z]\nconda = { zlib = '1.3' }\n",
        wrong("unknown-key", 2, "env.z.conda.zlib", "zlib", "[env.z.conda]", "`conda.libraries`"),
    ),
    "a deprecated parameter of @pypi": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.step.a.pypi]\nname = 'team/base:v1'\n",
        wrong("unknown-key", 4, "flow.X.step.a.pypi.name", "name", "[flow.X.step.a.pypi]", "named_env.name"),
    ),
    "a decorator's own name": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.pypi_base]\npackages = {}\n",
        wrong("unknown-key", 3, "flow.X.pypi_base", "pypi_base", "[flow.X]", "pypi"),
    ),
    "a step at the top": (
        "[step.train]\ndisabled = true\n",
        wrong("unknown-key", 1, "step", "step", "[flow.FLOW.step.STEP]"),
    ),
    "a key with control characters and a credential": (
        '"\\u001b[31m https://me:secret@index.example/x" = 1\n',
        wrong("unknown-key", 1, "\\x1b[31m https://index.example/x", "\\x1b[31m https://index.example/x"),
    ),
    "a number for a version": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.pypi]\npython = 3.10\n",
        wrong("wrong-type", 4, "flow.X.pypi.python", "python", 'python = "3.10"'),
    ),
    "a whole number for a version": (
        "[env.z.pypi.packages]\n'zope.interface' = 7\n",
        wrong("wrong-type", 2, "env.z.pypi.packages.zope.interface", "zope.interface", '"zope.interface" = "7"'),
    ),
    "a key that no table of a package has": (
        "[env.z.pypi.packages]\npandas = { verison = '>=2' }\n",
        wrong(
            "unknown-key",
            2,
            "env.z.pypi.packages.pandas.verison",
            "verison",
            "[env.z.pypi.packages.pandas]",
            "did you mean `version`?",
        ),
    ),
    "a number in a list of versions": (
        "[env.z.pypi.packages]\npandas = [\n  '>=2',\n  3,\n]\n",
        wrong("wrong-type", 4, "env.z.pypi.packages.pandas.1", "pandas"),
    ),
    "no requirement files": (
        "[env.z]\nrequirements = []\n",
        wrong("bad-value", 2, "env.z.requirements", "[]", "requirements", 'requirements = ["requirements.txt"]'),
    ),
    "a requirement file of another type": (
        "[flow.Train]\nfile = 'x.py'\npyproject = ['a.toml', 3]\n",
        wrong("wrong-type", 3, "flow.Train.pyproject.1", "3", "pyproject"),
    ),
    "no version in a list": (
        "[env.z.pypi.packages]\npandas = []\n",
        wrong("bad-value", 2, "env.z.pypi.packages.pandas", "[]", "pandas", 'pandas = [">=2", "<3"]'),
    ),
    "a marker that is none, in a table": (
        "[env.z.pypi.packages]\npandas = { marker = 'red' }\n",
        wrong("bad-marker", 2, "env.z.pypi.packages.pandas", "red"),
    ),
    "a marker in the version of a table": (
        "[env.z.pypi.packages]\npandas = { version = \">=2 ; sys_platform == 'linux'\" }\n",
        wrong(
            "bad-version-specifier", 2, "env.z.pypi.packages.pandas.version", ">=2 ; sys_platform == 'linux'", "marker"
        ),
    ),
    "an index for a URL": (
        "[env.z.pypi.packages]\n'a@https://files.example/a-1-py3-none-any.whl' = { index = 'x' }\n",
        wrong("bad-value", 2, "env.z.pypi.packages.a@https://files.example/a-1-py3-none-any.whl.index", "x", "index"),
    ),
    "an index that is neither name nor URL, and a name that no index can have": (
        "envlock.indexes = {'a b' = 'https://a.example/'}\n[env.z.pypi.packages]\nx = { index = 'ftp://x.example' }\n",
        wrong(
            "bad-value",
            1,
            "envlock.indexes.a b",
            "a b",
            "indexes",
            "-",
            "_",
            ".",
            'pytorch = "https://index.example/cu121/"',
        ),
        wrong("bad-index-url", 3, "env.z.pypi.packages.x.index", "ftp://x.example"),
    ),
    "a table for a version of a conda package": (
        "[env.z.conda.libraries]\npandas = { version = '>=2', extras = [] }\n",
        wrong("wrong-type", 2, "env.z.conda.libraries.pandas", "pandas", 'pandas = ">=2"'),
    ),
    "a list for a table": (
        "[env.z.pypi]\npackages = ['pandas']\n",
        wrong(
            "wrong-type",
            2,
            "env.z.pypi.packages",
            "packages",
            'packages = { pandas = "2.2.3", "requests[socks]" = ">=2,<3" }',
        ),
    ),
    "a string for a list, with a credential": (
        "[env.z.pypi]\nextra_indices = 'https://me:secret@index.example/simple/'\n",
        wrong(
            "wrong-type",
            2,
            "env.z.pypi.extra_indices",
            "extra_indices",
            'extra_indices = ["https://index.example/simple/"]',
        ),
    ),
    "a number in a list": (
        '[envlock]\nhosts = [\n  "index.example",\n  8080,\n]\n',
        wrong("wrong-type", 4, "envlock.hosts.1", "hosts", 'hosts = ["index.example", "*.files.example"]'),
    ),
    "a string for a choice": (
        "[flow.X]\nfile = 'x.py'\ndisabled = 'true'\n",
        wrong("wrong-type", 3, "flow.X.disabled", "disabled", "disabled = true"),
    ),
    "a choice for a string": (
        "[flow.X]\nfile = true\n",
        wrong("wrong-type", 2, "flow.X.file", "file", 'file = "train_flow.py"'),
    ),
    "a string for a table": (
        "[flow]\nX = 'x.py'\n",
        wrong("wrong-type", 2, "flow.X", "X"),
    ),
    "an array of tables": (
        "[[flow]]\nfile = 'x.py'\n",
        wrong("wrong-type", 1, "flow", "flow", 'flow = { TrainFlow = { file = "train_flow.py" } }'),
    ),
    "a number for an instant": (
        "[envlock]\nexclude-newer = 7\n",
        wrong("wrong-type", 2, "envlock.exclude-newer", "exclude-newer", 'exclude-newer = "7d"'),
    ),
    "a time of day for an instant": (
        "[envlock]\nexclude-newer = 07:30:00\n",
        wrong("wrong-type", 2, "envlock.exclude-newer", "exclude-newer", 'exclude-newer = "7d"'),
    ),
    "a date for a string": (
        "[envlock]\ncache = 2026-11-01\n",
        wrong("wrong-type", 2, "envlock.cache", "cache", 'cache = "s3://team/envlock"'),
    ),
    "a bucket with one slash": (
        "[envlock]\ncache = 's3:/team/envlock'\n",
        wrong("bad-value", 2, "envlock.cache", "s3:/team/envlock", "`s3://`", 'cache = "s3://team/envlock"'),
    ),
    "neither a string nor a list": (
        "[envlock]\ndatastore = 3\n",
        wrong("wrong-type", 2, "envlock.datastore", "datastore", 'datastore = "s3"'),
    ),
    "a list with what is no string": (
        "[envlock]\ndatastore = ['s3', {}]\n",
        wrong("wrong-type", 2, "envlock.datastore.1", "datastore", 'datastore = "s3"'),
    ),
    "an unknown value": (
        "[envlock]\npython-from = 'brew'\n",
        wrong("bad-value", 2, "envlock.python-from", "brew", "python-from"),
    ),
    "an unknown datastore": (
        "[envlock]\ndatastore = 'azur'\n",
        wrong("bad-value", 2, "envlock.datastore", "azur", "datastore", "did you mean `azure`?"),
    ),
    "an unknown datastore in a list": (
        "[envlock]\ndatastore = [\n's3',\n'gcs']\n",
        wrong("bad-value", 4, "envlock.datastore.1", "gcs", "datastore", "did you mean `gs`?"),
    ),
    "no arch at all": (
        "[envlock]\narchs = []\n",
        wrong("bad-value", 2, "envlock.archs", "[]", "archs", 'archs = ["linux-64", "osx-arm64"]'),
    ),
    "an unknown arch": (
        "[envlock]\narchs = ['linux-64', 'osx-arm']\n",
        wrong("unknown-arch", 2, "envlock.archs.1", "osx-arm", "did you mean `osx-arm64`?"),
    ),
    "an unknown arch as a key": (
        "[envlock.system-requirements.linux-x64]\n__glibc = '2.28'\n",
        wrong("unknown-arch", 1, "envlock.system-requirements.linux-x64", "linux-x64", "did you mean `linux-64`?"),
    ),
    "a floor of another system": (
        "[envlock.system-requirements]\nosx-64 = { __glibc = '2.28' }\n",
        wrong(
            "unknown-key",
            2,
            "envlock.system-requirements.osx-64.__glibc",
            "__glibc",
            "[envlock.system-requirements.osx-64]",
        ),
    ),
    "an unknown floor": (
        "[envlock.system-requirements]\nlinux-64 = { __glib = '2.28' }\n",
        wrong(
            "unknown-key",
            2,
            "envlock.system-requirements.linux-64.__glib",
            "__glib",
            "[envlock.system-requirements.linux-64]",
            "did you mean `__glibc`?",
        ),
    ),
    "an unknown system package, whatever it is": (
        "[env.base.sys_packages]\npackages.glibc = 2\n",
        wrong("unknown-key", 2, "env.base.sys_packages.packages.glibc", "did you mean `__glibc`?"),
    ),
    "an unknown arch, whatever it has": (
        "[envlock.system-requirements]\nlinux-x64 = 2\n",
        wrong("unknown-arch", 2, "envlock.system-requirements.linux-x64", "linux-x64"),
    ),
    "a floor that is no version": (
        "[envlock.system-requirements]\nlinux-64 = { __glibc = '2' }\n",
        wrong("bad-value", 2, "envlock.system-requirements.linux-64.__glibc", "2", "__glibc", '__glibc = "2.28"'),
    ),
    "an unknown virtual package": (
        "[env.z.sys_packages.packages]\n__cud = '12'\n",
        wrong(
            "unknown-key",
            2,
            "env.z.sys_packages.packages.__cud",
            "__cud",
            "[env.z.sys_packages.packages]",
            "did you mean `__cuda`?",
        ),
    ),
    "a host with a scheme": (
        "[envlock]\nhosts = ['https://index.example/']\n",
        wrong("bad-value", 2, "envlock.hosts.0", "https://index.example/", "hosts", 'hosts = ["index.example"'),
    ),
    "a step that no method can be called": (
        "[flow.TrainFlow]\nfile = 'train_flow.py'\nsteps = ['start', 'Train/middle']\n",
        wrong("bad-value", 3, "flow.TrainFlow.steps.1", "Train/middle", "steps", 'steps = ["start", "train", "end"]'),
    ),
    "a flow without a file": (
        "[flow.TrainFlow]\n",
        wrong("flow-without-file", 1, "flow.TrainFlow.file", "TrainFlow", 'file = "..."', "[flow.TrainFlow]"),
    ),
    "no index": (
        "[envlock]\nindex-url = 'ftp://me:secret@index.example/simple/'\n",
        wrong("bad-index-url", 2, "envlock.index-url", "ftp://index.example/simple/"),
    ),
    "a variable with a default, and one that does not end": (
        "[envlock]\nextra-indices = ['http://${U}:${T:-s3cret}@host.example/simple/', 'https://${T@host.example/simple/']\n",
        wrong("bad-index-url", 2, "envlock.extra-indices.0", "http://host.example/simple/"),
        wrong("bad-index-url", 2, "envlock.extra-indices.1", "https://host.example/simple/"),
    ),
    "flags of pip that mean nothing when locking, and extras of a package": (
        "[env.z.pypi]\nextras = ['--pre', 'pre', 'socks']\n",
        wrong(
            "bad-value",
            2,
            "env.z.pypi.extras.0",
            "--pre",
            "extras",
            "pre",
            'extras = ["pre"]',
            '"requests[socks]" = ""',
        ),
        wrong(
            "bad-value",
            2,
            "env.z.pypi.extras.2",
            "socks",
            "extras",
            "pre",
            'extras = ["pre"]',
            '"requests[socks]" = ""',
        ),
    ),
    "a mirror that is a variable with a default": (
        "[envlock]\npython-mirror = 'https://${MIRROR:-mirror.example}/python'\n",
        wrong(
            "bad-value",
            2,
            "envlock.python-mirror",
            "https://${MIRROR:-mirror.example}/python",
            "python-mirror",
            "${MIRROR:...}",
            "${NAME}",
            'python-mirror = "https://mirror.example/python"',
        ),
    ),
    "a name for an index": (
        "[flow.X]\nfile = 'x.py'\n[flow.X.step.a]\npypi.extra_indices = ['https://index.example/', 'conda-forge']\n",
        wrong("bad-index-url", 4, "flow.X.step.a.pypi.extra_indices.1", "conda-forge"),
    ),
    "a system version that is none": (
        "[env.z.sys_packages.packages]\n__cuda = '12.4.1'\n",
        wrong("bad-value", 2, "env.z.sys_packages.packages.__cuda", "12.4.1", "__cuda", '__cuda = "12.4"'),
    ),
    "a conda constraint that is none": (
        "[env.z.conda.libraries]\nnumpy = '1.26 or so'\n",
        wrong("bad-conda-requirement", 2, "env.z.conda.libraries.numpy", "numpy 1.26 or so"),
    ),
    "a name that no conda package has, behind a secret": (
        "[env.z.pypi.conda_only]\n'https://me:secret@conda.example/t/secret/team::two words' = ''\n",
        wrong(
            "bad-conda-requirement",
            2,
            "env.z.pypi.conda_only.https://conda.example/team::two words",
            "https://conda.example/team::two words",
            "two words",
        ),
    ),
    "no channel": (
        "[flow.X]\nfile = 'x.py'\nconda.channels = ['conda-forge', './channel']\n",
        wrong("bad-channel", 3, "flow.X.conda.channels.1", "./channel", "file:///srv/channel", "%20"),
    ),
    "no channel beside a package": (
        "[env.z.conda.libraries]\n'ftp://me:secret@conda.example/team::numpy' = ''\n",
        wrong("bad-channel", 2, "env.z.conda.libraries.ftp://conda.example/team::numpy", "ftp://conda.example/team"),
    ),
    "a mirror that is no URL": (
        "[envlock]\nchannel-mirrors = { conda-forge = 'main' }\n",
        wrong(
            "bad-value",
            2,
            "envlock.channel-mirrors.conda-forge",
            "main",
            "conda-forge",
            'conda-forge = "https://mirror.example/conda-forge"',
        ),
    ),
    "an endpoint with a secret": (
        "[envlock]\ncache-options = { endpoint = 'https://me:s3cret@objects.example?sig=s3cret' }\n",
        wrong(
            "bad-value",
            2,
            "envlock.cache-options.endpoint",
            "https://objects.example",
            "endpoint",
            'endpoint = "https://objects.example',
        ),
    ),
    "a secret among the options of the cache": (
        "[envlock.cache-options]\nkey = 's3cret'\n",
        wrong("unknown-key", 2, "envlock.cache-options.key", "key", "[envlock.cache-options]"),
    ),
    "a user whose locks are taken, by a name that is none": (
        "[envlock]\nuse-remote-latest = 'mia'\n",
        wrong("bad-value", 2, "envlock.use-remote-latest", "mia", "use-remote-latest"),
    ),
    "a list of users with a word for all": (
        "[envlock]\nuse-remote-latest = ['mia', ':any:']\n",
        wrong(
            "bad-value",
            2,
            "envlock.use-remote-latest.1",
            ":any:",
            "use-remote-latest",
            'use-remote-latest = ["mia", "joe"]',
            '":any:"',
        ),
    ),
    "a word that says neither whether to pack nor when": (
        "[envlock]\npack = 'always'\n",
        wrong("bad-value", 2, "envlock.pack", "always", "pack", "true, false, auto"),
    ),
    "an amount without a unit": (
        "[envlock]\nkeep-on-node = '20'\n",
        wrong("bad-value", 2, "envlock.keep-on-node", "20", "keep-on-node", 'keep-on-node = "50 GB"', "`GB`"),
    ),
    "an unknown resolver": (
        "[envlock]\nresolver = { conda = 'condalock' }\n",
        wrong("bad-value", 2, "envlock.resolver.conda", "condalock", "conda", "did you mean `conda-lock`?"),
    ),
    "a version of what may be older": (
        "[envlock]\nallow-older = ['hydra-core<1']\n",
        wrong("bad-value", 2, "envlock.allow-older.0", "hydra-core<1", "allow-older", 'allow-older = ["hydra-core"]'),
    ),
    "a link script of a version": (
        "[envlock]\nlink-scripts = ['font >=1']\n",
        wrong(
            "bad-value", 2, "envlock.link-scripts.0", "font >=1", "link-scripts", 'link-scripts = ["font-ttf-ubuntu"]'
        ),
    ),
    "a Python of conda that is no range": (
        "[env.z.conda.libraries]\npython = '3.10|3.11'\n",
        wrong("bad-python-specifier", 2, "env.z.conda.libraries.python", "3.10|3.11"),
    ),
    "no instant": (
        "[envlock]\nexclude-newer = 'yesterday'\n",
        wrong("bad-instant", 2, "envlock.exclude-newer", "yesterday"),
    ),
    "a day that no calendar has": (
        "[envlock]\nexclude-newer = '2026-02-30'\n",
        wrong("bad-instant", 2, "envlock.exclude-newer", "2026-02-30"),
    ),
    "no range of Pythons": (
        "[env.z]\nconda.python = 'python3'\n",
        wrong("bad-python-specifier", 2, "env.z.conda.python", "python3"),
    ),
    "no marker": (
        "[env.z.pypi.packages]\nrich = '15 ; linux'\n",
        wrong("bad-marker", 2, "env.z.pypi.packages.rich", "linux"),
    ),
    "a version beside a URL": (
        "[env.z.pypi.packages]\n'demo@https://index.example/demo-1.0-py3-none-any.whl' = '>=1'\n",
        wrong(
            "bad-value",
            2,
            "env.z.pypi.packages.demo@https://index.example/demo-1.0-py3-none-any.whl",
            ">=1",
            "demo@https://index.example/demo-1.0-py3-none-any.whl",
        ),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_reported(name: str) -> None:
    source, *expected = BAD[name]
    errors = errors_of(source)
    places = [error.locations[0] for error in errors]
    found = [(error.code, at.line, at.key or "") for error, at in zip(errors, places, strict=True)]
    assert found == [(each.code, each.line, each.key) for each in expected]
    for error, each in zip(errors, expected, strict=True):
        text = error.render()
        assert [fact for fact in each.facts if fact not in text] == []
        assert error.hint
        assert "secret" not in text


@pytest.mark.parametrize("name", ["1pkg!", "-x", "x y", "", "x[", "x[a b]", "é"])
def test_a_name_that_no_package_has(name: str) -> None:
    text = told(f"[env.z.pypi.packages]\n'{name}' = ''\n")
    assert text.startswith(
        f"error[bad-package-name]: `{name}` is not a package name\n  at envlock.toml:2 (env.z.pypi.packages."
    )


@pytest.mark.parametrize(
    "specifier", ["latest", ">=1.*", "==", "=1.2", "1..2", ">=1 <2", "~=1", "^1.2", "1.0.*.1", "!2"]
)
def test_a_version_that_pep_440_does_not_know(specifier: str) -> None:
    text = told(f"[env.z.pypi.packages]\nrich = '{specifier}'\n")
    assert text.startswith(
        f"error[bad-version-specifier]: `{specifier}` is not a version specifier\n"
        "  at envlock.toml:2 (env.z.pypi.packages.rich)\n"
    )


@pytest.mark.parametrize("specifier", [">>3", "3.x", ">=3.*", "3.11.x", "py312"])
def test_a_python_that_pep_440_does_not_know(specifier: str) -> None:
    assert told(f"[env.z.pypi]\npython = '{specifier}'\n").startswith("error[bad-python-specifier]")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "[env.base.pypi.packages]\nruamel.yaml = '>=0.18'\nzope.interface = ''",
            {2: "ruamel.yaml", 3: "zope.interface"},
        ),
        ("[env.base.pypi]\npackages = { ruamel.yaml = '', rich = '' }", {2: "ruamel.yaml"}),
        ("[env.base]\npypi.packages.ruamel.yaml = ''\nconda.libraries.a.b = '1'", {2: "ruamel.yaml", 3: "a.b"}),
        ("[env.base.pypi]\nconda_only.lib.cairo = ''", {2: "lib.cairo"}),
        # No TOML: one of them is a value and a table.
        (
            "[env.base.pypi.packages]\nruamel.yaml = ''\nruamel.yaml.clib = ''",
            {2: "ruamel.yaml", 3: "ruamel.yaml.clib"},
        ),
        ("[env.base.pypi.packages]\nzope.index = '>=6'\nzope.version = '1'", {2: "zope.index"}),
    ],
)
def test_a_name_with_a_dot_needs_quotes(text: str, names: dict[int, str], tmp_path: Path) -> None:
    path = tmp_path / "envlock.toml"
    path.write_text(text)
    for read in (lambda: explain(text, path), lambda: load_project(path)):
        with pytest.raises(EnvlockError) as caught:
            read()
        errors = caught.value.errors if isinstance(caught.value, ManyErrors) else (caught.value,)
        assert {error.code for error in errors} == {"dotted-name"}
        assert {error.locations[0].line: error.message.split("`")[1] for error in errors} == names
        assert all(f'"{error.message.split("`")[1]}" = ' in (error.hint or "") for error in errors)


@pytest.mark.parametrize(
    "text",
    [
        "[env.base.pypi.packages]\nrich.version = '>=13'\nrich.extras = ['jupyter']\n'ruamel.yaml' = ''",
        "[envlock]\nindexes.cu121 = 'https://index.example/cu121/'\n[env.base.pypi.packages]\ntorch.index = 'cu121'",
        "[envlock]\nindexes.6 = 'https://index.example/6/'\n[env.base.pypi.packages]\ntorch.index = '6'",
        "[env.base]\nsys_packages.packages.__cuda = '12.4'",
    ],
)
def test_a_table_of_a_package_may_be_written_with_dots(text: str, tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text(text)
    explain(text, tmp_path / "envlock.toml")
    assert len(load_project(tmp_path / "envlock.toml").environments()) == 1


def test_all_errors_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = "[envlock]\narchs = ['windows']\ncach = 'x'\n[flow.X]\nfile = 3\npypi.packages = { rich = '>>1' }\n"
    with pytest.raises(ManyErrors) as caught:
        explain(text, PATH)
    assert [(error.code, error.locations[0].line) for error in caught.value.errors] == [
        ("unknown-arch", 2),
        ("unknown-key", 3),
        ("wrong-type", 5),
        ("bad-version-specifier", 6),
    ]
    assert caught.value.exit_status == 2


def test_a_value_that_goes_on_for_ever_is_cut_short() -> None:
    text = told(f"[envlock]\npython-from = '{'x' * 5000}'\n")
    assert max(map(len, text.splitlines())) < 150


def test_places_are_named_by_the_file_and_the_key() -> None:
    with pytest.raises(ConfigError) as caught:
        explain("[envlock]\n\nnope = 1\n", PATH)
    assert caught.value.locations == (Location("envlock.toml", 3, "envlock.nope"),)


def test_a_date_in_no_year_is_reported_by_both_readers(tmp_path: Path) -> None:
    path = tmp_path / "envlock.toml"
    path.write_text("[envlock]\nexclude-newer = 0001-01-01T00:00:00+10:00\n", encoding="utf-8")
    for read in (lambda: explain(path.read_text(), path), lambda: load_project(path)):
        with pytest.raises(ConfigError) as caught:
            read()
        assert caught.value.code == "bad-instant"
        assert caught.value.locations == (Location("envlock.toml", 2, "envlock.exclude-newer"),)
