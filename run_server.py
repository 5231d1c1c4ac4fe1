"""Starts the server: `python run_server.py [options of "musetalk-service serve"]`."""

import sys

from musetalk_service.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
