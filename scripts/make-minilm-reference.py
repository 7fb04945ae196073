#!/usr/bin/env python3
"""Writes crates/minilm/tests/reference.json: what the model's own Python implementation says about 20 texts.

Needed only when the texts change; the fixture is committed and no test runs Python. In an environment of its own:

    python3 -m venv .venv && .venv/bin/pip install torch sentence-transformers
    .venv/bin/python scripts/make-minilm-reference.py WEIGHTS_DIR

WEIGHTS_DIR is what scripts/fetch-model-weights.sh made. Each text is run alone, so that no padding is involved, through
transformers' BertModel in float32 with mean pooling and L2 normalisation, as the model's own modules.json lays down.
"""

import json
import pathlib
import sys

import torch
from transformers import BertModel, PreTrainedTokenizerFast

TEXTS = [
    "How do I change the key of an agent?",
    "The quick brown fox jumps over the lazy dog.",
    "a",
    ".",
    " ",
    "\t\n \u00a0\u3000",
    "\u200b",
    "向量数据库把文本存成向量，再按相似度检索。",
    "東京タワーの高さは333メートルです。",
    "한국어 문장도 올바르게 처리되어야 합니다.",
    "Быстрая коричневая лиса перепрыгивает через ленивую собаку.",
    "مرحبا بالعالم، كيف حالك اليوم؟",
    "Crème brûlée à la façon d'Éloïse: naïve coöperation, Ångström, İstanbul, ﬁne ligatures.",
    "🚀🔥 ship it 👩‍👩‍👧‍👦 🇪🇺 ¯\\_(ツ)_/¯",
    'C:\\path\\to\\"file" \'quoted\' `ticks` $HOME %PATH% {"json": [1, 2.5e-3, null]}',
    "fn main() { let x: Vec<f32> = vec![0.5; 384]; println!(\"{:?}\", x); }",
    "Antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis " + "z" * 120,
    "[CLS] a text that spells out [SEP] and [MASK] and ##ing",
    "An embedding gateway takes text from many agents, removes personal data, picks a provider, and keeps the vectors. "
    "When a provider is down it goes on with another deployment of the same model, and never with another model, since "
    "vectors of different models cannot be compared. Every call is charged to the agent that caused it, and a budget "
    "that is spent refuses the next call instead of paying for it.",
    # 254 words of one token each and the two special tokens: exactly the model's limit.
    " ".join(["river", "stone", "cloud", "winter", "garden", "music"][i % 6] for i in range(254)),
]


def main() -> None:
    weights = pathlib.Path(sys.argv[1])
    out = pathlib.Path(__file__).resolve().parent.parent / "crates/minilm/tests/reference.json"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(weights / "tokenizer.json"))
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    model = BertModel.from_pretrained(weights, add_pooling_layer=False, attn_implementation="eager").eval()

    rows = []
    for text in TEXTS:
        ids = tokenizer.backend_tokenizer.encode(text).ids
        assert len(ids) <= 256, (text, len(ids))
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        vector = torch.nn.functional.normalize(hidden.mean(dim=0), dim=0)
        rows.append({"text": text, "tokens": len(ids), "vector": [float(f"{x:.7g}") for x in vector.tolist()]})

    lines = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in rows)
    out.write_text(f"[\n{lines}\n]\n", encoding="ascii")
    print(f"{len(rows)} vectors in {out}")


if __name__ == "__main__":
    main()
