"""What outlives the process: the audit log, keys, tasks. The only package that writes files.

It promises: what it said is durable is on disk; a file is whole under its name or not there; files that
hold secrets are readable by their owner alone; a log that was tampered with is never continued.

It refuses to know what a record means, who may call whom, and anything of HTTP.
"""
