"""`crplugins top`: the figures of a running gateway in a terminal."""
