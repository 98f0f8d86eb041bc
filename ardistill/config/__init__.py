"""Configuration: attrs classes, read strictly from TOML and from words `a.b=c`; no torch here.

config = load(["method=dd2", "method.alpha=1.0", "teacher=var"])
dump_toml(config)       # a file that gives the same configuration again
"""

from ardistill.config.judging import EvalConfig
from ardistill.config.loading import load, structure_trees, structure_words
from ardistill.config.section import NoSettings, Section, Sections, section_of, sections_of
from ardistill.config.toml import dump_toml, read_toml
from ardistill.config.tree import CheckpointConfig, RunConfig, StudentWords, TeacherWords
from ardistill.config.words import parse_words

__all__ = [
    "CheckpointConfig",
    "EvalConfig",
    "NoSettings",
    "RunConfig",
    "Section",
    "Sections",
    "StudentWords",
    "TeacherWords",
    "dump_toml",
    "load",
    "parse_words",
    "read_toml",
    "section_of",
    "sections_of",
    "structure_trees",
    "structure_words",
]
