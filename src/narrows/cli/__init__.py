"""The command ``narrows``: one file a verb, each a thin face of the public Python names."""
