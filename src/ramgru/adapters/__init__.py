"""The layer inside other libraries, one file each; a file imports its library when you import it.

Most libraries take `RAMGRU` as it is: docs/adapters.md shows where a file of this folder is needed.
"""
