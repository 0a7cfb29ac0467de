"""`python -m homeserver` is the command `isthmus`."""

from homeserver.cli import main

main()
