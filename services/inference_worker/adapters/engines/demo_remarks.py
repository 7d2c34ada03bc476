"""What the demo weights cannot do of a request, said in its warnings."""

from collections.abc import Mapping

from models_demo.captions import followed, is_understood


def on_prompt(inputs: Mapping[str, object]) -> tuple[str, ...]:
    """Nothing for a prompt in the words of the small world; for others which of their words were followed."""
    prompt = str(inputs.get("prompt") or "")
    if is_understood(prompt):
        return ()
    words = followed(prompt)
    heard = f"followed here: {', '.join(words)}" if words else "they know no word of this prompt"
    return (f"prompt: demo weights show a small world of shapes that move over a background; {heard}",)
