"""Spans that regular expressions mark in the SMS Spam Collection, as JSON lines of tokens and tags (IOB2).

    python scripts/weak_spans.py sms_spam.csv sms_spans.jsonl

There is no hand-made corpus of spans without conditions on its use among the data of this project: a model that learns from
these shows that spans are learned, not how well people's judgement is met. Types: MONEY, PHONE, TIME, LINK.
"""

import csv
import json
import re
import sys

KINDS = [
    ("LINK", r"(?:https?://|www\.)\S+"),
    ("MONEY", r"(?:£|\$)\s?\d[\d,.]*|\d+(?:\.\d+)?\s?(?:p|ppm|pence|pounds)\b"),
    ("TIME", r"\b\d{1,2}(?::|\.)\d{2}\s?(?:am|pm)?\b|\b\d{1,2}\s?(?:am|pm)\b"),
    ("PHONE", r"\b\+?\d{5,}\b"),
]


def main(source, out):
    counts = {}
    with open(source, newline="", encoding="utf-8") as file, open(out, "w", encoding="utf-8") as lines:
        for row in csv.DictReader(file):
            text, spans = row["text"], []
            for kind, pattern in KINDS:
                for match in re.finditer(pattern, text, re.IGNORECASE):
                    if all(match.end() <= s or match.start() >= e for s, e, _ in spans):
                        spans.append((match.start(), match.end(), kind))
            tokens, tags, last = [], [], None
            for match in re.finditer(r"\w+|[^\w\s]", text):
                span = next((s for s in spans if s[0] <= match.start() < s[1]), None)
                tokens.append(match.group())
                tags.append("O" if span is None else ("I-" if span == last else "B-") + span[2])
                last = span
            for _, _, kind in spans:
                counts[kind] = counts.get(kind, 0) + 1
            lines.write(json.dumps({"tokens": tokens, "tags": tags}, ensure_ascii=False) + "\n")
    print(counts)


if __name__ == "__main__":
    main(*sys.argv[1:])
