"""Hypothesis without deadlines, since machines are busy, and with fixed examples where CI must not be a lottery."""

import os

from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
