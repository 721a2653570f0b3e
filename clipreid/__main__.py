"""`python -m clipreid`."""

from clipreid.command import main

main()
