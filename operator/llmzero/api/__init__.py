"""The words: both resources, the stage contract and the agent contract, as pydantic models.

Everything below this package (dynamics, search, strategies, engines, trainer) speaks these
types and nothing here does I/O. Python names are snake_case, wire names camelCase.
"""
