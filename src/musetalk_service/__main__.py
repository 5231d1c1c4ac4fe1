"""``python -m musetalk_service``."""

import sys

from musetalk_service.cli import main

if __name__ == "__main__":
    sys.exit(main())
