"""The tasks that measure random access, one file each, and the registry of their names."""
