"""The final newline of a secret: whatever writes one to a file or a variable tends to add it, and no client sends it.

`kubectl create secret --from-file`, `echo`, an editor: the newline comes along, and a header with one is no header.
Every door through which a secret or an address comes in takes it off with this function: the environment (`${NAME}`,
`os.environ/NAME`, a provider's own variable, an option of a command), a configuration, a keys file, and Python.
"""


def without_final_newline(text: str) -> str:
    """`text` without the line ends at its end. What stands before them, also white space, is left alone."""
    return text.rstrip("\r\n")
