"""The command ``narrows``: a file for each verb, which calls the public Python names."""
