use super::*;

/// What `scripts/keras_fixtures.py` writes with h5py, in the default form and in that of HDF5 1.8.
fn file(name: &str) -> File {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras");
    File::parse(std::fs::read(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn arrays_of_every_form_are_read() {
    for name in ["forms.hdf5", "forms_18.hdf5"] {
        let file = file(name);
        let counted: Vec<f64> = (0..42).map(f64::from).collect();
        for array in ["plain", "chunks", "deep/deflated", "checked", "big", "half", "long"] {
            let tensor = file.array(array).unwrap();
            assert_eq!(tensor.dims(), [6, 7], "{name}: {array}");
            assert_eq!(tensor.data().floats().unwrap(), counted, "{name}: {array}");
        }
        assert_eq!(*file.array("truth").unwrap().data(), Data::Bool(vec![true, false]));
        assert_eq!(file.array("scalar").unwrap().dims(), [0usize; 0]);
        assert_eq!(file.array("empty").unwrap().dims(), [0, 3]);
        let texts = ["a", "né", ""].map(String::from).to_vec();
        assert_eq!(*file.array("words").unwrap().data(), Data::Text(texts.clone()));
        assert_eq!(file.texts("", "words").unwrap(), Some(texts));
        assert_eq!(file.texts("", "fixed").unwrap(), Some(vec!["abc".into(), "d".into()]));
        assert_eq!(file.texts("", "none").unwrap(), None);
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras");
    let cases = [
        ("soft.hdf5", "soft link"),
        ("external_link.hdf5", "another file"),
        ("external.hdf5", "external storage"),
        ("virtual.hdf5", "virtual dataset"),
    ];
    for (name, expected) in cases {
        let error = File::parse(std::fs::read(folder.join(name)).unwrap()).unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
    }
    assert!(File::parse(b"no file".to_vec()).is_err());
}
