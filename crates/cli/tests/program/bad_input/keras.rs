//! Models of Keras that are damaged, lead elsewhere, or hold code.

use std::path::Path;

use super::Case;
use super::cases::case;
use crate::Folder;

pub(super) fn keras(folder: &Folder) -> Vec<Case> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/tests/keras");
    let read = |name: &str| std::fs::read(fixtures.join(name)).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("cut.h5", &read("dense_old.h5")[..9000]);
    write("soft.h5", &read("soft.hdf5"));
    write("wide.h5", &read("dense_old.h5"));
    write("lambda.keras", &read("lambda.keras"));
    write("module.keras", &read("module.keras"));
    folder.write("two.csv", "x,y\n1,2\n");
    vec![
        case(
            "A Keras model that was cut off",
            "predict cut.h5 --data two.csv",
            1,
            &["cut.h5", "lies outside of the file"],
        ),
        case(
            "A Keras model with a soft link",
            "predict soft.h5 --data two.csv",
            1,
            &["`soft` is a soft link, which is not followed"],
        ),
        case(
            "A Keras model with a Lambda",
            "predict lambda.keras --data two.csv",
            1,
            &["layer `lambda` (Lambda): a Lambda is Python code, which is never executed"],
        ),
        case(
            "A Keras model with code of a module",
            "predict module.keras --data two.csv",
            1,
            &["layer `system` (system): it is Python code of `os`"],
        ),
        case(
            "A table with too few columns for a Keras model",
            "predict wide.h5 --data two.csv",
            2,
            &["takes 6 numbers a row, and `two.csv` has 2 columns"],
        ),
    ]
}
