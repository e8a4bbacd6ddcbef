"""What the supervisor starts."""

import sys

from agent.workers.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
