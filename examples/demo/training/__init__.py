"""How the demo models are made: captions, tokenizer, pictures, fitting, export, packing."""
