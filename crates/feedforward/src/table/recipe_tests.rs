use super::*;

fn problem(text: &str, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    Recipe::parse(&format!("data.path = 'x.csv'\n{text}"), "r.toml", &sets).unwrap_err().to_string()
}

#[test]
fn mistakes_are_shown_in_their_line_with_what_is_right() {
    for (text, expected) in [
        ("[train]\nepohcs = 5", "r.toml:3:1: unknown key `train.epohcs`; did you mean `epochs`?"),
        ("[modle]\nhidden = [3]", "r.toml:2:2: unknown key `modle`; did you mean `model`?"),
        (
            "[train]\nlr = 0.1",
            "r.toml:3:1: unknown key `train.lr`; did you mean `lr` in the table [optimizer]?",
        ),
        (
            "[optimizer]\nlearning_rate = 0.1",
            "r.toml:3:1: unknown key `optimizer.learning_rate`; did you mean `lr`?",
        ),
        (
            "[loss]\nxyzzy = 1",
            "r.toml:3:1: unknown key `loss.xyzzy`; the keys of [loss] are balanced, ",
        ),
        (
            "[model]\nactivation = 'rleu'",
            "r.toml:3:14: `model.activation`: unknown value \"rleu\"; did you mean `relu`? Allowed \
             are `identity`, ",
        ),
        (
            "[model]\nhidden = 64",
            "r.toml:3:10: `model.hidden`: expected a list of whole numbers, found the number 64; \
             write a list, such as [64,32]",
        ),
        (
            "[model]\nhidden = ['a']",
            "r.toml:3:11: `model.hidden[0]`: expected a whole number of at least 0, found the \
             string \"a\"",
        ),
        ("[model]\nhidden = [32, 0]", "r.toml:3:10: `model.hidden`: layer 1 has 0 units"),
        (
            "[model]\ndropout = 1.5",
            "r.toml:3:11: `model.dropout`: must be at least 0 and less than 1",
        ),
        (
            "[model]\nbias = 'true'",
            "r.toml:3:8: `model.bias`: expected true or false, found the string \"true\"; write \
             true without quotes",
        ),
        (
            "[train]\nepochs = -3",
            "r.toml:3:10: `train.epochs`: expected a whole number of at least 0, found -3",
        ),
        (
            "[train]\nepochs = 2.5",
            "`train.epochs`: expected a whole number of at least 0, found the number 2.5",
        ),
        ("[train]\nepochs = 0", "r.toml:3:10: `train.epochs`: must be at least 1, found 0"),
        ("[optimizer]\nlr = -0.1", "r.toml:3:6: `optimizer.lr`: must be at least 0, found -0.1"),
        ("[optimizer]\nlr = nan", "r.toml:3:6: `optimizer.lr`: must be"),
        (
            "[optimizer]\nbetas = [0.9]",
            "r.toml:3:9: `optimizer.betas`: expected a list of 2, found 1",
        ),
        (
            "[optimizer]\ngroups = [{ match = '' }]",
            "r.toml:3:21: `optimizer.groups[0].match`: must be a pattern",
        ),
        ("[optimizer]\ngroups = [{ lr_scale = 2.0 }]", "`optimizer.groups[0].match` is missing"),
        ("[data]\ntarget = 1", "r.toml:2:2: invalid TOML: duplicate key"),
        (
            "data.target = 1",
            "r.toml:2:15: `data.target`: expected a string, found the number 1; write it in \
             quotes: \"1\"",
        ),
        (
            "data.columns.age = 'numbr'",
            "r.toml:2:20: `data.columns.age`: unknown value \"numbr\"; did you mean `number`?",
        ),
        (
            "data.columns.age = { kind = 'number', scale = 'none' }",
            "r.toml:2:39: unknown key `data.columns.age.scale`; did you mean `scaling`?",
        ),
        ("data.split.valid = 1.5", "r.toml:2:20: `data.split.valid`: 1.5 is not a share"),
        (
            "evaluate.threshold = { recall_at_precision = 2.0 }",
            "r.toml:2:22: `evaluate.threshold`: 2 must be greater than 0",
        ),
        (
            "evaluate.threshold = 'f2'",
            "unknown value \"f2\"; allowed are `f1`, `balanced_accuracy`, { cost = … }, { \
             recall_at_precision = … }, { precision_at_recall = … } or ",
        ),
        (
            "evaluate.threshold = { costs = 1 }",
            "unknown key `evaluate.threshold.costs`; did you mean `cost`?",
        ),
        ("model.hidden = [", "r.toml:2:"),
        ("name = 'a/b'", "r.toml:2:8: `name`: \"a/b\" cannot name a folder"),
    ] {
        let message = problem(text, &[]);
        assert!(message.contains(expected), "\n  in: {text}\nwant: {expected}\n got: {message}");
    }
}

#[test]
fn overrides_have_errors_of_the_same_quality() {
    for (set, expected) in [
        (
            "train.epohcs=5",
            "--set train.epohcs=5: unknown key `train.epohcs`; did you mean `epochs`?",
        ),
        (
            "model.dropout=1.5",
            "--set model.dropout=1.5: `model.dropout`: must be at least 0 and less than 1",
        ),
        ("model.hidden=0", "--set model.hidden=0: `model.hidden`: layer 0 has 0 units"),
        ("model.activation=rleu", "did you mean `relu`?"),
        ("optimizer.lr=fast", "`optimizer.lr`: expected a number, found the string \"fast\""),
    ] {
        let message = problem("", &[set]);
        assert!(message.contains(expected), "\nset: {set}\nwant: {expected}\n got: {message}");
    }
}

#[test]
fn the_command_line_needs_no_quotes() {
    let sets = [
        "data.positive=1",
        "model.hidden=64",
        "data.drop=age",
        "train.epochs=1e2",
        "optimizer.lr=1",
    ];
    let sets = sets.map(String::from);
    let recipe = Recipe::parse("data.path = 'x.csv'", "r.toml", &sets).unwrap();
    assert_eq!(recipe.data.positive.as_deref(), Some("1"));
    assert_eq!(recipe.model.hidden, [64]);
    assert_eq!(recipe.data.drop, ["age"]);
    assert_eq!(recipe.train.epochs, 100);
    assert_eq!(recipe.optimizer.lr, Some(1.0));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let error = Recipe::parse("[train]\nepohcs = 1\nbatch_size = 'x'\n[moddel]\n", "r.toml", &[]);
    let error = error.unwrap_err();
    let lines: Vec<_> = error.problems().iter().map(Problem::line_column).collect();
    assert_eq!(lines, [Some((2, 1)), Some((3, 14)), Some((4, 2))]);
}

#[test]
fn a_missing_path_is_said_to_be_missing() {
    let message = Recipe::parse("[data]\ntarget = 'y'", "r.toml", &[]).unwrap_err().to_string();
    assert_eq!(
        message,
        "r.toml: `data.path`: name the file to read; `path` is missing in [data]: add it there, or \
         pass --set data.path=…"
    );
}

#[test]
fn what_is_written_is_read_back() {
    let text = "
        name = 'a run'
        [data]
        path = 'x.csv'
        target = \"it's\"
        columns = { pclass = 'number', 'a.b' = { kind = 'number', scaling = 'none' } }
        [model]
        hidden = []
        slope = 0.1
        [optimizer]
        kind = 'adamw'
        lr = 1e-8
        groups = [{ match = 'head.*', lr_scale = 10.0 }, { match = '*.bias' }]
        [evaluate.threshold.cost]
        false_positive = 1.0
        false_negative = 5.0
    ";
    let recipe = Recipe::parse(text, "r.toml", &[]).unwrap();
    let written = recipe.to_toml();
    let again = Recipe::parse(&written, "again.toml", &[]);
    assert_eq!(again.as_ref(), Ok(&recipe), "{written}");
    assert_eq!(again.unwrap().to_toml(), written);
    assert!(written.lines().all(|line| line.chars().count() <= 120), "{written}");
}

#[test]
fn synonyms_are_none_of_our_keys_and_point_to_one() {
    let keys = ff_settings::keys(&ff_settings::schema::<Recipe>());
    for (other, ours) in SYNONYMS {
        assert!(keys.iter().any(|key| key == ours), "{other}: {ours} is no key");
    }
}

#[test]
fn data_is_found_beside_the_recipe() {
    let folder = std::env::temp_dir().join(format!("feedforward-recipe-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("only-here.csv"), "a,b\n").unwrap();
    let path = folder.join("r.toml");
    std::fs::write(&path, "data.path = 'only-here.csv'").unwrap();
    let recipe = Recipe::load(&path, &[]).unwrap();
    assert_eq!(recipe.data.path, folder.join("only-here.csv"));
    let error = Recipe::load(&folder.join("rr.toml"), &[]).unwrap_err().to_string();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(error.contains("cannot read the recipe"), "{error}");
}

#[test]
fn what_is_asked_for_holds_for_texts_too() {
    let kept = |own: &str, key: &str| {
        Quality::Good.sets_beside(&[own.into()]).any(|set| set.starts_with(key))
    };
    assert!(kept("train.epochs=9", "train.text_patience"));
    assert!(!kept("train.patience=9", "train.text_patience"));
    assert!(kept("train.patience=9", "train.text_min_gain"));
    assert!(!kept("train.min_delta=0.1", "train.text_min_gain"));
    assert!(!kept("train.min_gain=0", "train.text_min_gain"));
}
