"""How fast a teacher and its student are: what is timed, the measuring, the figures as records, and as a table."""
