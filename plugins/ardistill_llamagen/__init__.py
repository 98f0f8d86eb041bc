"""LlamaGen: next-token prediction in raster order (Sun et al., 2024) as a teacher, with its tokenizer.

Importing this package imports no torch; the plain configuration records are in `config` and `settings`.
"""

ardistill_api = 1
