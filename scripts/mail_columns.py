"""Columns beside the texts of the SMS Spam Collection: how long a message is, the share of its capital letters, and
an hour of the day that says nothing.

    python scripts/mail_columns.py sms_spam.csv sms_columns.csv
"""

import csv
import sys

read, written = sys.argv[1:]
with open(read, newline="") as file, open(written, "w", newline="") as out:
    rows = csv.writer(out)
    rows.writerow(["text", "characters", "capitals", "hour", "type"])
    for i, row in enumerate(csv.DictReader(file)):
        text = row["text"]
        capitals = sum(letter.isupper() for letter in text) / max(1, len(text))
        hour = ["morning", "noon", "evening"][i * 7919 % 3]
        rows.writerow([text, len(text), round(capitals, 4), hour, row["type"]])
