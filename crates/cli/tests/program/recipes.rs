//! Recipes: every mistake in its line, with what is right.

use crate::{Folder, two_classes};

#[test]
fn a_mistake_is_shown_in_its_line_with_a_caret_and_help() {
    let folder = Folder::new("recipe-line");
    folder.write("r.toml", "[data]\npath = 'x.csv'\n\n[train]\nepohcs = 5 # long\n");
    let ran = folder.run(&["train", "r.toml"]).fails(2, &[]);
    assert_eq!(
        ran.stderr,
        "error: unknown key `train.epohcs`\n \
         --> r.toml:5:1\n  |\n5 | epohcs = 5 # long\n  | ^^^^^^\n  help: did you mean `epochs`?\n"
    );
}

#[test]
fn every_kind_of_mistake_has_its_message() {
    let folder = Folder::new("recipe-kinds");
    folder.write("x.csv", &two_classes(60));
    for (text, messages) in [
        (
            "[model]\nactivation = 'rleu'",
            &["r.toml:3:14", "unknown value \"rleu\"", "did you mean `relu`?"][..],
        ),
        (
            "[optimizer]\nlr = -0.1",
            &["r.toml:3:6", "`optimizer.lr`: must be at least 0, found -0.1"],
        ),
        ("[model]\nhidden = [0]", &["r.toml:3:10", "`model.hidden`: layer 0 has 0 units"]),
        (
            "[model]\nhidden = 0",
            &["r.toml:3:10", "expected a list of whole numbers, found the number 0"],
        ),
        (
            "[model]\ndropout = 1.5",
            &["r.toml:3:11", "`model.dropout`: must be at least 0 and less than 1, found 1.5"],
        ),
        (
            "[train]\nepochs = 'ten'",
            &["r.toml:3:10", "expected a whole number", "found the string \"ten\""],
        ),
        (
            "[train]\nlearning_rate = 0.1",
            &["r.toml:3:1", "did you mean `lr` in the table [optimizer]?"],
        ),
        ("[model\nhidden = [1]", &["r.toml:2:", "invalid TOML"]),
    ] {
        folder
            .write("r.toml", &format!("data = {{ path = 'x.csv', target = 'answer' }}\n{text}\n"));
        folder.run(&["train", "r.toml"]).fails(2, messages);
        folder.run(&["recipe", "validate", "r.toml"]).fails(2, messages);
        folder.run(&["plan", "r.toml"]).fails(2, messages);
        assert!(
            !folder.path().join("runs").exists(),
            "nothing may be made for a recipe with {text}"
        );
    }
}

#[test]
fn overrides_are_checked_like_the_file() {
    let folder = Folder::new("recipe-set");
    folder.write("x.csv", &two_classes(60));
    let run = |set: &str| folder.run(&["train", "x.csv", "--target", "answer", "--set", set]);
    run("model.activation=rleu")
        .fails(2, &["--set:1:18", "model.activation=rleu", "did you mean `relu`?"]);
    run("train.epochs").fails(2, &["expected key=value", "--set train.epochs=5"]);
    run("modle.hidden=[3]").fails(2, &["unknown key `modle`", "did you mean `model`?"]);
    run("model.dropout=1.5")
        .fails(2, &["`model.dropout`: must be at least 0 and less than 1, found 1.5"]);
}

#[test]
fn errors_are_objects_with_json() {
    let folder = Folder::new("recipe-json");
    folder.write("r.toml", "data.path = 'x.csv'\n[train]\nepohcs = 5\nbatch = 'x'\n");
    let ran = folder.run(&["train", "r.toml", "--json"]);
    assert_eq!(ran.stdout.lines().count(), 1);
    let error = &ran.json()["error"];
    assert_eq!(ran.code, Some(2));
    assert_eq!(
        (error["kind"].as_str(), error["key"].as_str()),
        (Some("usage"), Some("train.epohcs"))
    );
    assert_eq!((error["file"].as_str(), error["line"].as_u64()), (Some("r.toml"), Some(3)));
    assert_eq!(error["all"].as_array().unwrap().len(), 2);
}

#[test]
fn validate_looks_at_every_file() {
    let folder = Folder::new("recipe-validate");
    folder.write("good.toml", "data.path = 'x.csv'");
    folder.write("bad.toml", "data.path = 'x.csv'\nnmae = 'a'");
    let good = folder.run(&["recipe", "validate", "good.toml"]).ok();
    assert_eq!(good.stdout, "✓ good.toml can be used\n");
    let both = folder.run(&["recipe", "validate", "bad.toml", "good.toml"]);
    let both = both.fails(2, &["bad.toml:2:1", "did you mean `name`?"]);
    assert!(both.stdout.contains("good.toml can be used"));
    let missing = folder.run(&["recipe", "validate", "godo.toml"]);
    missing.fails(2, &["cannot read the recipe `godo.toml`", "did you mean `good.toml`?"]);
}

#[test]
fn a_new_recipe_can_be_trained_and_shown() {
    let folder = Folder::new("recipe-new");
    folder.write("x.csv", &two_classes(60));
    folder
        .run(&["recipe", "new", "x.csv"])
        .fails(2, &["which column", "the columns are x, y, answer"]);
    folder.run(&["recipe", "new", "x.csv", "--target", "answer", "--out", "r.toml"]).ok();
    let text = std::fs::read_to_string(folder.path().join("r.toml")).unwrap();
    assert!(text.contains("target = \"answer\"") && text.contains("#   x = \"number\""), "{text}");
    folder.run(&["recipe", "validate", "r.toml"]).ok();
    folder
        .run(&["recipe", "new", "x.csv", "--target", "answer", "--out", "r.toml"])
        .fails(2, &["is there already", "nothing is ever overwritten"]);
    let shown = folder.run(&["recipe", "show", "r.toml", "--set", "train.epochs=3"]).ok().stdout;
    assert!(shown.contains("epochs = 3 "), "{shown}");
    let json = folder.run(&["recipe", "show", "r.toml", "--json"]).ok().json();
    assert_eq!(json["data"]["target"], "answer");
}

#[test]
fn the_schema_is_json_and_knows_all_kinds_of_recipes() {
    let schema = Folder::new("schema").run(&["recipe", "schema"]).ok().stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["title"], "A recipe of feedforward");
    let kinds = [
        ("/then", "TranslationRecipe", "loss"),
        ("/else/then", "FinetuneRecipe", "adapter"),
        ("/else/else/then", "PretrainRecipe", "tokenizer"),
        ("/else/else/else/then", "EncoderRecipe", "objective"),
        ("/else/else/else/else/then", "SequenceRecipe", "optimizer"),
        ("/else/else/else/else/else", "Recipe", "loss"),
    ];
    for (kind, name, key) in kinds {
        let found = schema.pointer(kind).unwrap();
        assert_eq!(found["$ref"], format!("#/$defs/{name}"));
        let properties = &schema["$defs"][name]["properties"];
        assert!(properties["train"].is_object() && properties[key].is_object(), "{properties}");
    }
    assert!(schema.pointer("/else/else/if").unwrap().to_string().contains("tokenizer"));
}

#[test]
fn a_slip_in_a_language_models_config_is_shown_in_its_line() {
    let folder = Folder::new("recipe-language");
    folder.write("r.toml", crate::language::RECIPE);
    folder.run(&["recipe", "validate", "r.toml"]).ok();
    folder.edit("r.toml", "num_hidden_layers", "num_hiden_layers");
    folder.run(&["recipe", "validate", "r.toml"]).fails(
        2,
        &["`model.config.num_hiden_layers`", "did you mean \"num_hidden_layers\"", "r.toml:11:"],
    );
    folder.edit("r.toml", "num_hiden_layers = 2", "num_hidden_layers = 0");
    folder.run(&["recipe", "validate", "r.toml"]).fails(2, &["`model.config.num_hidden_layers`"]);
}
