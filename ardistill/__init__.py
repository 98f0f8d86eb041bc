"""ardistill: one-step generators distilled from image autoregressive models."""

__version__ = "0.1.0"
