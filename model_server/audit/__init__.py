"""Who did what, when and with what result, in a file that cannot be changed without its being seen."""
