"""supervisord that looks at its processes ten times a second; by itself it may take a second to see that one ended."""

from typing import Any

from supervisor import poller
from supervisor.supervisord import main

_LOOK_EVERY_SECONDS = 0.1

_Poller: Any = poller.Poller


class PromptPoller(_Poller):
    """Waits for no longer than that."""

    def poll(self, timeout: float) -> Any:
        """What can be read and written."""
        return super().poll(min(timeout, _LOOK_EVERY_SECONDS))


if __name__ == "__main__":
    poller.Poller = PromptPoller
    main()
