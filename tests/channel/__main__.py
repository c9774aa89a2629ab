"""`python -m tests.channel [port]`: serve the channels until interrupted. Prints ENVLOCK_CHANNEL_MIRRORS's value."""

from __future__ import annotations

import sys
import time

from tests.channel import Channel, built_channels


def main() -> None:
    with Channel(built_channels(), port=int(sys.argv[1]) if sys.argv[1:] else 0) as channel:
        print(channel.mirrors, flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
