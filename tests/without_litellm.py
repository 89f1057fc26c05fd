"""`python without_litellm.py ARGUMENT...`: the command `crplugins`, in a Python in which litellm is not installed.

As with the extra `slim`: nothing finds it, by import or by `find_spec`.
"""

import sys
from importlib.machinery import PathFinder

GONE = frozenset({"litellm", "openai", "tiktoken", "tokenizers", "huggingface_hub", "boto3", "httpx"})
"""litellm, and what is installed with it."""


class Without(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname.partition(".")[0] in GONE else super().find_spec(fullname, path, target)


if __name__ == "__main__":
    sys.meta_path[sys.meta_path.index(PathFinder)] = Without
    from crplugins.cli import main

    main()
