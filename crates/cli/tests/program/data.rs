//! Names that were typed wrong, and data that cannot be used.

use crate::{Folder, two_classes};

#[test]
fn a_missing_file_or_column_is_wrong_usage_with_the_nearest_name() {
    let folder = Folder::new("names");
    folder.write("data.csv", &two_classes(60));
    let train = |file: &str, target: &str| folder.run(&["train", file, "--target", target]);
    train("dta.csv", "answer").fails(2, &["`dta.csv`", "did you mean `data.csv`?"]);
    train("data.csv", "anwser").fails(2, &["no column `anwser`", "did you mean `answer`?"]);
    folder
        .run(&["train", "data.csv"])
        .fails(2, &["which column should be predicted?", "x, y, answer"]);
    folder.run(&["train", "."]).fails(2, &["is a folder, neither a table nor a recipe"]);
    folder.run(&["evaluate", "runs/none"]).fails(2, &["there is no such run"]);
    folder.run(&["train", "--resume", "runs/none"]).fails(2, &["there is no such run"]);
    folder.run(&["inspect", "none.safetensors"]).fails(2, &["none.safetensors"]);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn data_that_cannot_be_used_fails_with_its_place() {
    let folder = Folder::new("bad-data");
    folder.write("empty.csv", "");
    folder.write("header.csv", "a,b\n");
    folder.write("wide.csv", "a,b\n1,2\n3,4,5\n6,7\n");
    folder.write("one.csv", "a,b\n1,x\n2,x\n");
    let train = |file: &str| folder.run(&["train", file, "--target", "b"]);
    train("empty.csv").fails(1, &["`empty.csv` is empty", "help: "]);
    train("header.csv").fails(1, &["only a header"]);
    train("wide.csv").fails(1, &["`wide.csv`, line 3: 3 fields where the header has 2"]);
    train("one.csv").fails(1, &["target `b`"]);
}

#[test]
fn a_damaged_tensor_file_is_refused() {
    let folder = Folder::new("damaged");
    let mut bytes = (1u64 << 63).to_le_bytes().to_vec();
    bytes.extend(b"{}");
    std::fs::write(folder.path().join("x.safetensors"), bytes).unwrap();
    folder.run(&["inspect", "x.safetensors"]).fails(1, &["x.safetensors", "claims"]);
}
