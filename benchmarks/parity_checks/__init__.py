"""What each kind of fixture asks of this code: one module a family of models, found by what the json says.

A check is a function (fixture) -> iterable of (name of an array, what this code gives, what was recorded).
"""
