"""What stands beside tokenizer.json and decides a vector: it must agree with what is done here.

Texts are lowered, cut at the context length, framed, and filled up with 0
(`lumen_serving.media.text`).
Pure; a repository that says otherwise is refused, since its vectors would be other ones.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lumen_resources.errors import TokenizerError

FILE_NAMES = ("tokenizer_config.json", "special_tokens_map.json")


def check_settings(
    name: str,
    document: Mapping[str, Any],
    context_length: int,
    token_id: Callable[[str], int | None],
) -> None:
    """Compare one of the two files with what is done; `token_id` looks a token up.

    Raises TokenizerError.
    """
    if document.get("do_lower_case") is False:
        raise _contradiction(name, "do_lower_case false", "texts are lowered here")
    longest = document.get("model_max_length")
    if isinstance(longest, int | float) and longest < context_length:
        raise _contradiction(
            name, f"model_max_length {longest:g}", f"texts have {context_length} tokens here"
        )
    padding, ends = (
        _token(document, "pad_token"),
        {_token(document, key) for key in ("eos_token", "sep_token")},
    )
    number = None if padding is None else token_id(padding)
    # Behind the end of a text, CLIP's causal towers see nothing: its end may stand there as well.
    if number and padding not in ends:
        raise _contradiction(
            name, f"pad_token {padding!r}, which is {number}", "texts are filled up with 0 here"
        )


def _token(document: Mapping[str, Any], key: str) -> str | None:
    """Return a token, which is written as its text or as an object that holds it."""
    value = document.get(key)
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def _contradiction(name: str, says: str, done: str) -> TokenizerError:
    return TokenizerError(
        f"{name} says {says}; {done}.",
        remedy="Correct the file to what the model was trained with; a model that needs it so "
        "cannot be served yet.",
        file=name,
    )
