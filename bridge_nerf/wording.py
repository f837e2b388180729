"""How prompts are put together."""


def compose(*parts: str) -> str:
    """The parts that say something, joined by commas."""
    return ", ".join(part.strip(" ,.") for part in parts if part.strip(" ,."))
