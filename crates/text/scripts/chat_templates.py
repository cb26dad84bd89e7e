"""Conversations written by chat templates, as `transformers` writes them.

    python chat_templates.py templates.json            # templates of this script: stored
    python chat_templates.py OUT.json FOLDER           # every *.jinja of a folder: not stored

`strftime_now` stands at a fixed time in both languages.
"""

import datetime
import json
import pathlib
import sys

import jinja2
import transformers.utils.chat_template_utils as utils

NOW = datetime.datetime(2026, 1, 2, 13, 4, 5)


class Now(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


utils.datetime = Now

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a place, \"now\" & later; größer",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "A city"},
                    "days": {"type": ["integer", "null"], "minimum": 1, "default": 2.5},
                    "unit": {"type": "string", "enum": ["C", "F"]},
                },
                "required": ["place"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "time",
            "description": "The time",
            "parameters": {"type": "object", "properties": {}, "required": []},
        },
    },
]

USER = {"role": "user", "content": "What is 2 + 2?\n"}
ANSWER = {"role": "assistant", "content": "  It is **4**.\n\nIs it?"}
SYSTEM = {"role": "system", "content": "You are <b>brief</b> & \"kind\".  "}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call12345",
            "type": "function",
            "function": {"name": "weather", "arguments": {"place": "Zürich", "days": 3, "x": [1.0, None, True]}},
        }
    ],
}
RESULT = {"role": "tool", "name": "weather", "tool_call_id": "call12345", "content": '{"sun": true}'}
THOUGHT = {"role": "assistant", "content": "Four.", "reasoning_content": "Two and two.\n"}

CONVERSATIONS = [
    ([USER], None, True),
    ([SYSTEM, USER, ANSWER, {"role": "user", "content": "日本語 'x' \t\\n"}], None, True),
    ([SYSTEM, USER, ANSWER], None, False),
    ([USER, THOUGHT, USER], None, True),
    ([USER, THOUGHT], None, False),
    ([SYSTEM, USER], TOOLS, True),
    ([USER, CALL, RESULT], TOOLS, True),
    ([SYSTEM, USER, CALL, RESULT, ANSWER, USER], TOOLS, True),
]

TEMPLATES = {
    "chatml": "{% for m in messages %}\n<|{{ m['role'] }}|>\n{{ m.content | trim }}</s>\n{% endfor %}\n"
    "{%- if add_generation_prompt %}\n<|assistant|>\n{%- endif %}",
    "generation": "{%- for m in messages -%}\n{%- if m.role == 'assistant' -%}[\n{% generation %}\n"
    "{{ m.content }}{{ eos_token }}\n{% endgeneration %}]{%- else -%}{{ bos_token }}{{ m.role }}: {{ m.content }}"
    "{%- endif -%}\n{%- endfor -%}",
    "methods": "{% for m in messages if m.content is string %}{% set c = m.content %}"
    "{{ c.strip() }}|{{ c.rstrip('\\n?') }}|{{ c.lstrip(' ') }}|{{ c.split() }}|{{ c.split(' ', 1) }}|"
    "{{ c.rsplit(None, 1) }}|{{ c.split('\\n')[-1] }}|{{ c.upper() }}|{{ c.title() }}|{{ c.capitalize() }}|"
    "{{ c.startswith(('W', ' ')) }}|{{ c.endswith('?') }}|{{ c.replace('2', 'zwei', 1) }}|{{ c.find('2') }}|"
    "{{ c.count('2') }}|{{ c.splitlines() }}|{{ c.partition(' ') }}|{{ '-'.join(['a', c]) }}|{{ c.isdigit() }}|"
    "{{ c.removeprefix('What') }}|{{ '{} {x}'.format(c, x=1) }}|{{ c[1:4] }}|{{ c[::-1] }}|{{ c | length }}\n"
    "{% endfor %}",
    "maps": "{% for m in messages %}{% for k, v in m.items() %}{{ loop.index0 }}{{ k }}={{ v }};{% endfor %}"
    "{{ m.keys() | list }}{{ m.get('name') }}{{ m.get('name', 'nobody') }}{{ m.missing is defined }}"
    "{% if 'tool_calls' in m and m.tool_calls is not none %}{{ m.tool_calls }}{% endif %}\n{% endfor %}{{ tools }}",
    "json": "{% for m in messages %}{{ m | tojson }}{% endfor %}{% for t in tools or [] %}"
    "{{ t | tojson(indent=4) }}{{ t.function | tojson(ensure_ascii=True, sort_keys=True) }}"
    "{{ t | tojson(separators=(',', ':')) }}{% endfor %}"
    "{{ [1.0, 1e-7, 1.5e300, 0.1, 123456789012345680.0, -0.0, 12345678901234567890, '\\u007f\\u0001\\u2028'] | tojson }}",
    "control": "{% macro show(x, y=2) %}({{ x }}{{ y }}){% endmacro %}{% set ns = namespace(n=0, s='') %}"
    "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}{% if loop.index > 3 %}{% break %}"
    "{% endif %}{% set ns.n = ns.n + 1 %}{% set ns.s = ns.s ~ m.role[0] %}{{ show(m.role, y=loop.last) }}"
    "{% endfor %}{{ ns.n }}{{ ns.s }}{{ none }}{{ true }}{{ 1 == 1.0 }}{{ 7 // 2 }}{{ 7 % 3 }}{{ 7 / 2 }}"
    "{{ range(3) | list }}{{ messages | map(attribute='role') | join(',') }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ undefined_name }}"
    "{%- set x %}\n  captured {{ messages | length }}\n{% endset %}[{{ x }}]{{ {'b': 1, 'a': (1, 2)} | dictsort }}"
    "{{ strftime_now('%d %b %Y %H:%M %B %A') }}{{ messages[-1].content[:2] ~ 'x' if messages else 'none' }}"
    "{{ ['a', 'b'] + ['c'] }}{{ 'a' in 'bab' }}{{ 'x' * 3 }}",
    "safe": "{# {{ ~ }} #}{% for m in messages if m.content is string %}{{- '<q>'|safe + m.content + '</q>' -}}{{ m.content }}"
    "{{ m.content + '<&>' }}{{ '}}\\'' | safe }}{{ m.missing }}{{ none }}{{ ('<' + m.role) | e }}{{ ('a'|safe + m) if false else "
    "m.content|safe + '\"' }}{{ {'a': {'b': '{'}}['a'] }}{% set x = '<'|safe + '>' %}{{ x + x|string + m.content|length|string }}{% endfor %}",
    "safe, never escaped": "{% macro f(x) %}<{{ x|safe }}>{% endmacro %}{% for m in messages if m.content is string %}"
    "{{ f(m.role) + m.content }}{{ '<'|safe ~ m.content }}{% endfor %}",
    "raises": "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system, please') }}{% endif %}"
    "{{ m.content }}{% endfor %}",
}


def render(template, messages, tools, prompt):
    messages = utils._normalize_chat_messages(messages)
    options = {"return_assistant_tokens_mask": True} if "generation %" in template or "generation -%" in template else {}
    try:
        texts, spans = utils.render_jinja_template(
            [messages], tools=tools, chat_template=template, add_generation_prompt=prompt, **options, **SPECIAL
        )
        return {"text": texts[0], **({"spans": spans[0]} if options else {})}
    except Exception as error:
        # Python's own errors, such as a loop over None, are no refusals.
        raised = type(error) is jinja2.exceptions.TemplateError
        return {"error": str(error), "raised": raised}


def main():
    templates = TEMPLATES
    if len(sys.argv) > 2:
        templates = {p.name: p.read_text() for p in sorted(pathlib.Path(sys.argv[2]).glob("*.jinja"))}
    cases = [{"messages": m, "tools": t, "add_generation_prompt": p} for m, t, p in CONVERSATIONS]
    results = {
        name: {"template": text, "rendered": [render(text, *case) for case in CONVERSATIONS]}
        for name, text in templates.items()
    }
    out = {"special": SPECIAL, "conversations": cases, "templates": results}
    pathlib.Path(sys.argv[1]).write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")
    failed = sum("error" in r for t in results.values() for r in t["rendered"])
    print(f"{len(results)} templates, {len(CONVERSATIONS)} conversations each, {failed} refused")


main()
