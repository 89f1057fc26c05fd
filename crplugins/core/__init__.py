"""What every request passes through. Imports nothing of crplugins outside this folder."""
