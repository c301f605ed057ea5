"""A tokenizer of each kind that published models have, trained here, in their real file layout.

`write_tokenizer(folder, "t5")` writes tokenizer.json, tokenizer_config.json and
special_tokens_map.json as the repositories of that kind have them. CLIP's byte BPE is the real one,
from the file that open_clip brings; the others have some hundred tokens of a few sentences.
Within a process a kind's files are always the same; between two, equally good merges may differ.
"""

import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = (
    "a photo of a cat sitting on the roof of a red house by the sea",
    "two dogs run over the green grass; the birds sing, the bees hum!",
    "Ein Foto von einem Hund und einer Katze im Garten, schön und groß.",
    "Une photo d'un chat noir sur l'herbe verte à côté de la forêt.",
    "Una foto de un pájaro azul en el árbol, mañana por la mañana.",
    "Фотография кошки на крыше красного дома у моря",
    "צילום של חתול על הגג ליד הים",
    "صورة لقط على سطح بيت أحمر قرب البحر",
    "海边红房子屋顶上的一只猫的照片",
    "海のそばの赤い家の屋根にいる猫の写真",
    "바닷가 빨간 집 지붕 위에 있는 고양이 사진",
    "समुद्र के किनारे लाल घर की छत पर बिल्ली",
    "the quick brown fox jumps over the lazy dog, 0123456789 times; don't we'll they're",
)
# What makes a larger vocabulary, as XLM-V's is beside XLM-R's.
_MORE = tuple(line.title()[::2] + line[1::2] for line in CORPUS)
LANGUAGES = ("deu_Latn", "eng_Latn", "fra_Latn", "zho_Hans")
_SPACE = "▁"


@dataclass(frozen=True, slots=True)
class TokenizerKind:
    """How one kind is made, and the rule that texts follow with it.

    `build` gives the tokenizer, `settings` the content of tokenizer_config.json, `hub_name` what
    open_clip's text_cfg says in `hf_tokenizer_name` (empty: its own BPE), `options` its
    `tokenizer_kwargs`. The rest are fields of a TextRule.
    """

    build: Callable[[], Tokenizer]
    settings: Mapping[str, Any]
    hub_name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    cleaning: str = "whitespace"
    frame: str = "own"
    pad_id: int = 0
    strip_sep: bool = False
    language: str = ""
    context_length: int = 77


def write_tokenizer(folder: Path, name: str) -> int:
    """Write the three files into `folder`; return the size of the vocabulary."""
    kind = KINDS[name]
    content = _content(name)
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    special = {key: value for key, value in kind.settings.items() if key.endswith("_token")
               and isinstance(value, str)}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(kind.settings), indent=2))
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2))
    return Tokenizer.from_str(content).get_vocab_size()


def write_word_list(folder: Path, name: str) -> None:
    """Write vocab.txt alone, as OFA-Sys publishes Chinese CLIP."""
    numbers = Tokenizer.from_str(_content(name)).get_vocab()
    words = sorted(numbers, key=lambda word: numbers[word])
    (folder / "vocab.txt").write_text("\n".join([*words, ""]), encoding="utf-8")


@cache
def _content(name: str) -> str:
    return KINDS[name].build().to_str(pretty=True)


def clip_bpe() -> Tokenizer:
    """CLIP's own byte BPE, as openai/clip-vit-base-patch32 has it in tokenizer.json."""
    merges = _clip_merges()
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    start, end = "<|startoftext|>", "<|endoftext|>"
    words = [*letters, *(f"{one}</w>" for one in letters), *("".join(one) for one in merges)]
    vocabulary = {word: number for number, word in enumerate([*words, start, end])}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token=end, fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words_of = (
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
        r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words_of), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, vocabulary[end]), (start, vocabulary[start]), False, False
    )
    tokenizer.add_special_tokens([AddedToken(start, normalized=True), AddedToken(end)])
    return tokenizer


def _clip_merges() -> list[tuple[str, str]]:
    packed = Path(open_clip.tokenizer.default_bpe()).read_bytes()
    lines = gzip.decompress(packed).decode().split("\n")
    pairs = (line.split() for line in lines[1 : 49152 - 256 - 2 + 1])
    return [(first, second) for first, second in pairs]


def t5_unigram() -> Tokenizer:
    """SigLIP's: `<pad>` `</s>` `<unk>` at 0, 1, 2, an end and no start."""
    tokenizer = _unigram(["<pad>", "</s>", "<unk>"])
    tokenizer.normalizer = normalizers.Precompiled(_charsmap())
    tokenizer.post_processor = _template("$A </s>", tokenizer)
    return tokenizer


def xlm_unigram(corpus: Sequence[str] = CORPUS) -> Tokenizer:
    """XLM-R's and XLM-V's: `<s>` text `</s>`, `<mask>` at the end."""
    tokenizer = _unigram(["<s>", "<pad>", "</s>", "<unk>"], corpus)
    tokenizer.normalizer = normalizers.Precompiled(_charsmap())
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = _template("<s> $A </s>", tokenizer)
    return tokenizer


def _unigram(special: list[str], corpus: Sequence[str] = CORPUS) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    # Trained without the map of characters, which the trainer cannot use; the corpus needs it not.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=460, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def gemma_bpe() -> Tokenizer:
    """SigLIP 2's: Gemma's BPE with bytes for what it has not, an end and no start."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=[*special, *byte_tokens], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    tokenizer = Tokenizer(
        models.BPE(
            trained["vocab"],
            [tuple(pair) for pair in trained["merges"]],
            fuse_unk=True,
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.post_processor = _template("$A <eos>", tokenizer)
    return tokenizer


def nllb_bpe() -> Tokenizer:
    """NLLB's: the language, the text, `</s>`; languages stand behind the vocabulary."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=_SPACE, prepend_scheme="always", split=True
    )
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(_charsmap()), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens([*LANGUAGES, AddedToken("<mask>", lstrip=True, normalized=True)])
    tokenizer.post_processor = _template("eng_Latn $A </s>", tokenizer)
    return tokenizer


def word_pieces(*, lowercase: bool, size: int = 460) -> Tokenizer:
    """BERT's: `[CLS]` text `[SEP]`, Chinese characters by themselves."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = _template("[CLS] $A [SEP]", tokenizer)
    return tokenizer


def roberta_bpe() -> Tokenizer:
    """RoBERTa's byte BPE: `<s>` text `</s>`, a word with its space before it."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    ends = [(token, tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(
        *ends, trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


def _template(single: str, tokenizer: Tokenizer) -> processors.TemplateProcessing:
    special = [(one, tokenizer.token_to_id(one)) for one in single.split() if one != "$A"]
    return processors.TemplateProcessing(single=single, special_tokens=special)


@cache
def _charsmap() -> bytes:
    """Return the map of characters (NFKC and spaces) that sentencepiece gives its models."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        vocab_size=200,
        minloglevel=2,
        num_threads=1,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    return proto.normalizer_spec.precompiled_charsmap


_CLIP = {
    "tokenizer_class": "CLIPTokenizer",
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "do_lower_case": True,
    "errors": "replace",
    "model_max_length": 77,
}
_XLM = {
    "tokenizer_class": "XLMRobertaTokenizer",
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
    "model_max_length": 512,
}
_BERT = {
    "tokenizer_class": "BertTokenizer",
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "do_lower_case": True,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "model_max_length": 512,
}
# What "no bound" is in their files.
_ENDLESS = 1000000000000000019884624838656

KINDS: Mapping[str, TokenizerKind] = {
    "clip": TokenizerKind(clip_bpe, _CLIP, cleaning="lower", frame="clip"),
    "t5": TokenizerKind(
        t5_unigram,
        {
            "tokenizer_class": "T5Tokenizer",
            "eos_token": "</s>",
            "pad_token": "</s>",
            "unk_token": "<unk>",
            "additional_special_tokens": [],
            "extra_ids": 0,
            "legacy": False,
            "model_max_length": _ENDLESS,
        },
        hub_name="timm/ViT-B-16-SigLIP",
        options={"clean": "canonicalize"},
        cleaning="canonicalize",
        pad_id=1,
        context_length=64,
    ),
    "gemma": TokenizerKind(
        gemma_bpe,
        {
            "tokenizer_class": "GemmaTokenizer",
            "add_bos_token": False,
            "add_eos_token": True,
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "padding_side": "right",
            "model_max_length": _ENDLESS,
        },
        hub_name="timm/ViT-B-16-SigLIP2",
        options={"clean": "canonicalize"},
        cleaning="canonicalize",
        context_length=64,
    ),
    "xlm-roberta": TokenizerKind(xlm_unigram, _XLM, hub_name="xlm-roberta-base", pad_id=1),
    "xlm-v": TokenizerKind(
        lambda: xlm_unigram([*CORPUS, *_MORE]), _XLM, hub_name="facebook/xlm-v-base", pad_id=1
    ),
    "nllb": TokenizerKind(
        nllb_bpe,
        {
            **_XLM,
            "tokenizer_class": "NllbTokenizer",
            "additional_special_tokens": list(LANGUAGES),
            "legacy_behaviour": False,
            "model_max_length": 1024,
        },
        hub_name="facebook/nllb-200-distilled-600M",
        pad_id=1,
        language="eng_Latn",
    ),
    "chinese-bert": TokenizerKind(
        lambda: word_pieces(lowercase=True), _BERT, cleaning="none", context_length=52
    ),
    "labse": TokenizerKind(
        lambda: word_pieces(lowercase=False, size=520),
        {**_BERT, "do_lower_case": False},
        cleaning="none",
    ),
    "bert": TokenizerKind(
        lambda: word_pieces(lowercase=True),
        _BERT,
        hub_name="bert-base-uncased",
        options={"strip_sep_token": True},
        strip_sep=True,
        context_length=32,
    ),
    "roberta": TokenizerKind(
        roberta_bpe,
        {**_XLM, "tokenizer_class": "RobertaTokenizer", "add_prefix_space": False},
        hub_name="roberta-base",
        pad_id=1,
    ),
}
