"""How entries of the files in ``rules/services/`` are read."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Unknown keys are errors, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
