use super::*;
use serde_json::json;

/// What `scripts/chat_templates.py` wrote.
fn compare(stored: &str) -> Vec<String> {
    let stored: Value = serde_json::from_str(stored).unwrap();
    let special: Vec<(&str, &str)> = stored["special"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, token)| (name.as_str(), token.as_str().unwrap()))
        .collect();
    let mut differences = Vec::new();
    for (name, case) in stored["templates"].as_object().unwrap() {
        let source = case["template"].as_str().unwrap();
        let template = match ChatTemplate::new(source, special.clone(), name) {
            Ok(template) => template,
            Err(error) => {
                differences.push(error.to_string());
                continue;
            }
        };
        let cases = stored["conversations"].as_array().unwrap().iter();
        for (i, (chat, expected)) in cases.zip(case["rendered"].as_array().unwrap()).enumerate() {
            let messages = chat["messages"].as_array().unwrap();
            let tools = chat["tools"].as_array().map(Vec::as_slice);
            let prompt = chat["add_generation_prompt"] == true;
            let found = template.render(messages, tools, prompt);
            match (found, expected["text"].as_str()) {
                (Ok(found), Some(expected)) if found == expected => (),
                // Where Python fails without being told to, we may not.
                (Err(_), None) => (),
                (Ok(_), None) if expected["raised"] == false => (),
                (found, expected) => differences.push(format!(
                    "{name}, conversation {i}:\n--- ours\n{}\n--- transformers\n{}",
                    found.unwrap_or_else(|error| error.to_string()),
                    expected.unwrap_or("(refused)")
                )),
            }
            // Without the prompt, where the template marks the answers itself.
            if let (Some(spans), false) = (expected["spans"].as_array(), prompt) {
                let chat = template.render_marked(messages, tools).unwrap();
                assert_eq!(Some(chat.text.as_str()), expected["text"].as_str(), "{name}");
                let chars = |at: usize| chat.text[..at].chars().count();
                let found: Vec<Value> =
                    chat.answers.iter().map(|a| json!([chars(a.start), chars(a.end)])).collect();
                assert_eq!(&found, spans, "{name}");
            }
        }
    }
    differences
}

#[test]
fn templates_write_what_they_write_in_python() {
    let differences = compare(include_str!("fixtures/templates.json"));
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// The templates of the sdist of llama-cpp-python, once `scripts/fetch-models.sh templates` has
/// fetched them.
#[test]
fn published_templates_write_what_they_write_in_python() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/templates.json");
    let Ok(stored) = std::fs::read_to_string(path) else {
        eprintln!("skipped: no {path}; scripts/fetch-models.sh templates fetches it");
        return;
    };
    let differences = compare(&stored);
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n\n"));
}

fn template(source: &str) -> Result<ChatTemplate> {
    ChatTemplate::new(source, [("eos_token", "<end>")], "chat_template.jinja")
}

fn refused(source: &str) -> String {
    let messages = [json!({"role": "user", "content": "Hello"})];
    let error = template(source).and_then(|t| t.render(&messages, None, false)).unwrap_err();
    assert!(!error.hint().is_empty());
    error.to_string()
}

#[test]
fn a_template_that_fails_says_where_and_why() {
    let raised = refused("{{ raise_exception('roles must alternate') }}");
    assert!(raised.ends_with("refuses this conversation: roles must alternate"), "{raised}");
    let syntax = refused("a\n{% for %}");
    assert!(syntax.contains("line 2: the chat template is malformed"), "{syntax}");
    let missing = refused("\n{{ tools.name.x }}");
    assert!(missing.contains("line 2: the chat template fails"), "{missing}");
    let method = refused("{{ messages.append(1) }}");
    assert!(method.contains("`append` would change a value"), "{method}");
}

#[test]
fn formatting_with_percent_is_refused() {
    let message = refused("{{ '%s-%d' % ('a', 3) }}");
    assert!(message.contains("% operator"), "{message}");
}

#[test]
fn malformed_templates_with_safe_texts_are_errors() {
    for end in [
        "{{",
        "{{-",
        "{{ é",
        "{{ 'é",
        "{{ \"\\",
        "{%",
        "{% if '",
        "{{ {'a': {{ }}",
        "{{ ) + ( }}",
        "{{-}}",
    ] {
        let source = format!("{{{{ 'é'|safe + '<' }}}}{end}");
        assert!(template(&source).is_err(), "{source}");
    }
    let messages = [json!({"role": "user", "content": "<"})];
    let text = template("{# {{ #}{{ '<'|safe + messages[0].content }}{#}}#}").unwrap();
    assert_eq!(text.render(&messages, None, false).unwrap(), "<&lt;");
}

#[test]
fn a_template_without_end_is_stopped() {
    for source in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}",
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('x') }}",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(90) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{{ 2000000 * 'x' }}",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(90) %}{% set ns.s = ns.s.replace('x', 'xxxx') %}{% endfor %}",
    ] {
        let message = refused(source);
        assert!(message.contains("was stopped") || message.contains("recursion"), "{message}");
    }
}

#[test]
fn answers_are_found_without_marks() {
    let chatml = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>\n{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% endif %}";
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let messages =
        [say("user", "é?"), say("assistant", "ja "), say("user", "<end>"), say("assistant", "")];
    let chat = template(chatml).unwrap().render_marked(&messages, None).unwrap();
    let answers: Vec<&str> = chat.answers.iter().map(|a| &chat.text[a.clone()]).collect();
    assert_eq!(answers, ["ja <end>", "<end>"]);
    // The prompt holds more than the text of an answer begins with.
    let thinking = chatml.replace("<assistant>{%", "<assistant><think>{%");
    let chat = template(&thinking).unwrap().render_marked(&messages, None).unwrap();
    assert_eq!(&chat.text[chat.answers[0].clone()], "ja <end>");
    // Earlier answers are shortened once others follow.
    let forgets = chatml.replace("{{ m.content }}", "{{ m.content if loop.last else '' }}");
    let error = template(&forgets).unwrap().render_marked(&messages, None).unwrap_err();
    assert!(error.to_string().contains("the text before message 2 changes"), "{error}");
}

#[test]
fn marks_are_found_whatever_the_conversation_says() {
    let source =
        "{% for m in messages %}{% generation %}{{ m.content }}{%- endgeneration -%} |{% endfor %}";
    let messages =
        [json!({"content": "\u{fdd0}0\u{fdd1}"}), json!({"content": ""}), json!({"content": "b"})];
    let chat = template(source).unwrap().render_marked(&messages, None).unwrap();
    assert_eq!(chat.text, "\u{fdd0}0\u{fdd1}||b|");
    assert_eq!(chat.answers, [0..7, 9..10]);
}
