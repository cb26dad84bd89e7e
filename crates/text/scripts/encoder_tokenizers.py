"""Small tokenizers of encoders without a tokenizer.json, and the ids that transformers gives for odd texts.

    python crates/text/scripts/encoder_tokenizers.py

Writes crates/text/src/tokenizer/fixtures/{uncased,cased,roberta}: vocab.txt, or vocab.json and merges.txt, with
tokenizer_config.json where it matters, and ids.json: texts with their ids.
"""

import json
import pathlib

import tokenizers
import transformers

TEXTS = [
    "",
    " ",
    "the quick brown foxes' unaffable jumping",
    "The QUICK Brown FOX",
    "Café Zürich naïve ÅNGSTRÖM İstanbul ß ſ",
    "e\u0301 combining, n\u0303 and \u0130",
    "汉字和日本語のテキスト、中文。한국어 문장",
    "mixed漢字mixed ｆｕｌｌ　ｗｉｄｔｈ",
    "tab\tnew\nline\r\n\u00a0no-break\u200bzero\u200dwidth\ufeff",
    "\x00control\x07\ufffd",
    "it's don't!!! a.b,c;d(e)f[g]{h} @#$%^&*_+=~`|\\/<>?-– — … “quotes” ‘single’",
    "[CLS] inside [SEP] and [MASK]ed [UNK] [PAD] [mask] <mask> <s> </s> <mask>x a <mask>",
    "1234567890 3.14159 ½ Ⅷ ٣",
    "🙂 👨‍👩‍👧 flags 🇨🇭",
    "x" * 101 + " " + "x" * 100,
    "##ing #ing ing##",
    "ελληνικά Ж русский עברית العربية हिन्दी ไทย",
]


def write(folder, tokenizer):
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    (folder / "ids.json").write_text(json.dumps({"texts": TEXTS, "ids": ids}, ensure_ascii=True))


def wordpiece(root, name, settings):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    trained = tokenizers.BertWordPieceTokenizer(lowercase=settings.get("do_lower_case", True))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    corpus = [text for text in TEXTS if "[CLS]" not in text] * 3
    trained.train_from_iterator(corpus, vocab_size=330, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    (folder / "tokenizer_config.json").unlink(missing_ok=True)
    if settings:
        text = json.dumps({"tokenizer_class": "BertTokenizer", **settings})
        (folder / "tokenizer_config.json").write_text(text)
    write(folder, transformers.BertTokenizer.from_pretrained(folder))


def roberta(root):
    folder = root / "roberta"
    folder.mkdir(parents=True, exist_ok=True)
    trained = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(TEXTS * 3, vocab_size=420, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    write(folder, transformers.RobertaTokenizer.from_pretrained(folder))


def main():
    root = pathlib.Path(__file__).resolve().parent.parent / "src" / "tokenizer" / "fixtures"
    wordpiece(root, "uncased", {})
    wordpiece(root, "cased", {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False})
    roberta(root)


main()
