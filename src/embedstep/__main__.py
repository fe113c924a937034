"""`python -m embedstep` is the command line."""

from embedstep.cli.program import program

program()
