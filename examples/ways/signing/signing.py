"""How the other team signs its messages. The demo makes a git repository of this folder."""

from itsdangerous import Signer


def signed(text):
    """The text, and a signature."""
    return Signer("a key").sign(text).decode()
