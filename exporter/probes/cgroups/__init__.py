"""Control groups: where one is mounted, and its files in the words of v1 and of v2."""
