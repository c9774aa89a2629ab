"""Bring a task into its environment: `python -m metaflow_extensions.envlock.plugins.node FLOW STEP`.

A scheduler's command runs this in the task's folder, and then has its shell read `./.envlock/enter.sh`, which this
writes. Every Python parses this file, so that an old one can say that it is too old.
"""

import sys

_OLDEST = (3, 8)


def main():
    """Do it, and return the exit status."""
    if sys.version_info < _OLDEST:
        sys.stderr.write(
            "envlock: this image has Python %d.%d, and a task starts in its environment with Python %d.%d or later: "
            "use another image\n" % (sys.version_info[:2] + _OLDEST)
        )
        return 2
    from .start import start

    return start(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
