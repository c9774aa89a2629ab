"""What names an image, by the grammar of the distribution project, with the registry always written."""

from __future__ import annotations

import random

import pytest

from envlock.image.errors import BadImageReference
from envlock.image.references import ImageReference
from tests.hostile import ODD, TOKENS

SHA = "0123456789abcdef" * 4
GOOD = {
    "registry.example/team/base:1": ("registry.example", "team/base", "1", ""),
    "localhost/base": ("localhost", "base", "latest", ""),
    "LOCALHOST:5000/base:V1.2_3-x": ("localhost:5000", "base", "V1.2_3-x", ""),
    "127.0.0.1:5000/a/b/c__d/e-f/g---h.i": ("127.0.0.1:5000", "a/b/c__d/e-f/g---h.i", "latest", ""),
    "[::1]:5000/base:1": ("[::1]:5000", "base", "1", ""),
    "[2001:db8::1]/base:1": ("[2001:db8::1]", "base", "1", ""),
    f"registry.example/base@sha256:{SHA}": ("registry.example", "base", "", f"sha256:{SHA}"),
    f"registry.example/base:1@sha256:{SHA}": ("registry.example", "base", "1", f"sha256:{SHA}"),
    f"registry.example/base@sha512:{SHA}{SHA}": ("registry.example", "base", "", f"sha512:{SHA}{SHA}"),
    f"registry.example/{'a' * 255}:{'t' * 128}": ("registry.example", "a" * 255, "t" * 128, ""),
}
BAD = (
    *("", "base", "base:1", "team/base:1", "python:3.12", "/base:1", "registry.example", "registry.example/"),
    *(
        "registry.example/Base:1",
        "registry.example/base:",
        "registry.example/base:-1",
        "registry.example/a..b:1",
        "registry.example/a/",
    ),
    *(
        "registry.example/a___b",
        "registry.example/-a",
        "registry.example/a-",
        "registry.example//a",
        "registry.example/a/",
    ),
    *("registry.example:/a", "registry.example:0/a", "registry.example:65536/a", "registry.example:x/a"),
    *("-x.example/a", "x-.example/a", "a..example/b", "[::1/a", "[nope]:1/a", "[127.0.0.1]/a", "::1/a", "[::1]x/a"),
    *("registry.example/base@", "registry.example/base@sha256:12", f"registry.example/base@md5:{'0' * 32}"),
    *(f"registry.example/base@sha256:{SHA.upper()}", f"registry.example/base@{SHA}", "https://registry.example/base:1"),
    *("me:pw@registry.example/base:1", "registry.example/base:1 ", " registry.example/base", "registry.example/bäse"),
    *(f"registry.example/{'a' * 256}", f"registry.example/a:{'t' * 129}", f"{'a' * 300}.example/b"),
    *("registry.example/base:1\n", "registry.example/base:1?x", "registry.example/../etc:1", "registry.example/%2e:1"),
)


@pytest.mark.parametrize(("text", "parts"), GOOD.items(), ids=range(len(GOOD)))
def test_a_reference_names_registry_repository_and_tag_or_digest(text: str, parts: tuple[str, ...]) -> None:
    found = ImageReference.parse(text)
    assert tuple(found) == parts
    assert ImageReference.parse(str(found)) == found


@pytest.mark.parametrize("text", BAD)
def test_what_names_no_image_is_refused(text: str) -> None:
    with pytest.raises(BadImageReference) as raised:
        ImageReference.parse(text)
    assert raised.value.code == "bad-image-reference"
    assert "pw" not in raised.value.render()


def test_any_other_text_is_refused_too() -> None:
    chance = random.Random(13)
    odd = [each for each in ODD if isinstance(each, str)] + [each.decode("latin-1") for each in TOKENS]
    for _ in range(500):
        text = "".join(chance.choice([*odd, "registry.example", "/", ":", "@", "a", SHA]) for _ in range(4))
        try:
            found = ImageReference.parse(text)
        except BadImageReference as error:
            assert error.render().replace("\n", "").isprintable()  # noqa: PT017
        else:
            assert ImageReference.parse(str(found)) == found
