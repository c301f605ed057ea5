"""BERT's vocabulary as a list of words, for repositories that bring no tokenizer.json.

Chinese CLIP's are published so. What tokenizer.json would say beside the words is BERT's own.
"""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORD_LIST = "vocab.txt"
_UNKNOWN, _START, _END = "[UNK]", "[CLS]", "[SEP]"
_SPECIAL = ("[PAD]", _UNKNOWN, _START, _END, "[MASK]")


def words_of(content: bytes) -> dict[str, int]:
    """Return each word's number: its line. Raises ValueError for what is not UTF-8."""
    text = content.decode().replace("\r\n", "\n").replace("\r", "\n")
    return {word: number for number, word in enumerate(text.removesuffix("\n").split("\n"))}


def word_pieces(content: bytes) -> Tokenizer:
    """Build BERT's uncased tokenizer from its words.

    Raises ValueError for a list without the tokens that every text needs.
    """
    words = words_of(content)
    for token in (_UNKNOWN, _START, _END):
        if token not in words:
            raise ValueError(f"it has no {token}")
    tokenizer = Tokenizer(models.WordPiece(words, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}",
        special_tokens=[(token, words[token]) for token in (_START, _END)],
    )
    tokenizer.add_special_tokens([token for token in _SPECIAL if token in words])
    return tokenizer
