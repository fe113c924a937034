"""`python -m embedstep` is the command line."""

from embedstep.cli import program

program()
