"""Who did what, when and with what result, in a file that cannot be changed without its being seen.

`chain` is the form of a line and of the head beside the file, `verify` judges the files of a log, `resume` finds where
one that is there ends, `log` writes one.
"""
