"""Write a CLIP ViT-B/32 with seeded random weights as transformers publishes one.

    python random_clip.py FOLDER

Runs in Infinity's own environment, so that its transformers reads what it wrote.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.tokenization_clip import bytes_to_unicode

folder = Path(sys.argv[1])
torch.manual_seed(0)
# The defaults are those of ViT-B/32.
CLIPModel(CLIPConfig()).save_pretrained(folder)
letters = list(bytes_to_unicode().values())
words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
merges.write_text("#version: 0.2\n")
tokenizer = CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)
CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)
