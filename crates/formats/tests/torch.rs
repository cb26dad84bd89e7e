//! Files of PyTorch, written by `torch/fixtures.py`.

use ff_formats::{Error, TensorFile};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torch").join(name)
}

#[test]
fn tensors_are_those_that_pytorch_wrote() {
    let pairs = [
        ("state.pt", "state"),
        ("legacy.pt", "state"),
        ("nested.pt", "nested"),
        ("nested-legacy.pth", "nested"),
    ];
    for (name, expected) in pairs {
        for open in [TensorFile::open, TensorFile::map] {
            let found = open(&fixture(name)).unwrap();
            let expected = TensorFile::open(&fixture(&format!("{expected}.safetensors"))).unwrap();
            let names = |file: &TensorFile| file.entries().map(|e| e.name).collect::<Vec<_>>();
            assert_eq!(names(&found), names(&expected), "{name}");
            for tensor in names(&expected) {
                assert_eq!(found.raw(&tensor), expected.raw(&tensor), "{name}: {tensor}");
            }
        }
    }
}

#[test]
fn objects_are_refused_by_name_and_nothing_runs() {
    let cases =
        [("module.pt", "torch.nn.modules.container.Sequential"), ("runs.pt", "posix.system")];
    for (name, object) in cases {
        let error = TensorFile::open(&fixture(name)).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains(object), "{error}");
        assert!(error.hint().contains("nothing in it was executed"));
    }
    assert!(!Path::new("executed").exists());
    let error = TensorFile::open(&fixture("expanded.pt")).unwrap_err().to_string();
    assert!(error.contains("repeats its storage"), "{error}");
    let error = TensorFile::open(&fixture("plain.pt")).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

/// Every cut and every damaged byte is an error or other values, never a panic.
#[test]
fn damage_is_an_error() {
    for name in ["state.pt", "legacy.pt"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for length in (0..whole.len()).step_by(7) {
            let cut = TensorFile::parse(&fixture(name), whole[..length].to_vec());
            assert!(cut.is_err(), "{name} cut to {length}");
        }
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x55;
            let _ = TensorFile::parse(&fixture(name), bytes);
        }
    }
}

/// A list that holds another twice, and so on: 2³⁰ places, in a few bytes.
#[test]
fn containers_without_end_are_refused() {
    let mut pickles = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    pickles.extend(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02]");
    for i in 0..30u8 {
        pickles.extend([b'q', i, b'0', b']', b'h', i, b'a', b'h', i, b'a']);
    }
    pickles.extend(b".\x80\x02].");
    let error = TensorFile::parse(Path::new("a.pt"), pickles).unwrap_err().to_string();
    assert!(error.contains("nested without end"), "{error}");
    // A list that holds itself.
    let mut pickles = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    pickles.extend(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02]q\x00h\x00a.\x80\x02].");
    let error = TensorFile::parse(Path::new("a.pt"), pickles).unwrap_err().to_string();
    assert!(error.contains("nested without end"), "{error}");
}
