"""What people type: one verb, one file.

It promises: every printing command has ``--json``; exit status 0 is fine, 1 a negative verdict, 2 wrong
usage or configuration; an error is one line that says what to do; what others wrote is printed so that
no terminal obeys it. Only this package prints, exits and, with ``wiring``, reads the environment.
"""
