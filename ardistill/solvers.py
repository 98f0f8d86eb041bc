"""How the ODE from noise to tokens is solved: the words, and what measurement chose (docs/ode.md). Free of torch."""

from typing import Literal

Solver = Literal["euler", "heun", "multistep"]

DEFAULT_SOLVER: Solver = "multistep"
DEFAULT_EVALUATIONS = 20
