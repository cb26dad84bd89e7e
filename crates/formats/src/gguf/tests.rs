use super::*;
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name)
}

#[test]
fn every_type_has_the_values_of_the_python_package() {
    let file = GgufFile::open(&fixture("kinds.gguf")).unwrap();
    let mut types = 0;
    for (name, tensor) in file.tensors() {
        let Some(expected) = file.raw(&format!("{name}.values")) else { continue };
        let found: Vec<u8> =
            file.floats(name).unwrap().iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(found, expected, "{name}");
        assert_eq!(tensor.dtype.to_string(), *name);
        types += 1;
    }
    assert_eq!(types, 25);
}

#[test]
fn metadata_is_read_with_its_types() {
    let file = GgufFile::open(&fixture("kinds.gguf")).unwrap();
    assert_eq!(file.text("general.architecture"), Some("llama"));
    let metadata = file.metadata();
    assert_eq!(metadata["test.negative"], GgufValue::I32(-3));
    assert_eq!(metadata["test.float"].as_f64(), Some(0.1));
    assert_eq!(metadata["test.flag"].as_bool(), Some(true));
    let names: Vec<_> =
        metadata["test.names"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert_eq!(names, ["a", "é", ""]);
    assert!(GgufFile::is_at(&fixture("kinds.gguf")) && !GgufFile::is_at(&fixture("make.py")));
}

/// A file with one key and one tensor, of which parts can be replaced.
fn small() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    text(&mut bytes, "key");
    bytes.extend(8u32.to_le_bytes());
    text(&mut bytes, "value");
    text(&mut bytes, "tensor");
    bytes.extend(2u32.to_le_bytes());
    bytes.extend(4u64.to_le_bytes());
    bytes.extend(2u64.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend([0; 32]);
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    parse::header(bytes).unwrap_err()
}

#[test]
fn a_header_that_lies_is_refused_before_anything_is_allocated() {
    assert_eq!(parse::header(&small()).unwrap().1["tensor"].dims, [2, 4]);
    let with = |at: usize, value: &[u8]| {
        let mut bytes = small();
        bytes[at..at + value.len()].copy_from_slice(value);
        refusal(&bytes)
    };
    let huge = u64::MAX.to_le_bytes();
    assert!(with(0, b"GGML").contains("does not begin with `GGUF`"));
    assert!(with(4, &1u32.to_le_bytes()).contains("version 1"));
    assert!(with(4, &3u32.to_be_bytes()).contains("big-endian"));
    assert!(with(8, &huge).contains("claims 18446744073709551615 tensors"));
    assert!(with(16, &huge).contains("claims 18446744073709551615 metadata entries"));
    assert!(with(24, &huge).contains("claims 18446744073709551615 bytes of a metadata key"));
    assert!(with(35, &99u32.to_le_bytes()).contains("`key` has the unknown type 99"));
    assert!(with(39, &1000u64.to_le_bytes()).contains("claims 1000 bytes of `key`"));
    assert!(with(47, &[255]).contains("`key` is not UTF-8"));
    assert!(with(66, &9u32.to_le_bytes()).contains("9 dimensions are more than 4"));
    assert!(with(70, &huge).contains("is too large"));
    assert!(with(86, &77u32.to_le_bytes()).contains("values of type 77 are not known"));
    assert!(with(86, &8u32.to_le_bytes()).contains("rows of 4 values are no blocks of 32 (Q8_0)"));
    assert!(with(90, &8u64.to_le_bytes()).contains("offset 8 is no multiple of 32"));
    assert!(with(90, &32u64.to_le_bytes()).contains("go past the end of the file"));
    for len in 0..small().len() {
        let _ = parse::header(&small()[..len]);
    }
    assert!(refusal(&small()[..small().len() - 1]).contains("go past the end"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(at in 8usize..98, value in proptest::collection::vec(any::<u8>(), 1..9)) {
        let mut bytes = small();
        let end = (at + value.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&value[..end - at]);
        let _ = parse::header(&bytes);
    }
}

#[test]
fn written_blocks_are_those_of_the_python_package() {
    written_blocks_are_those_of("quantised.gguf", 5);
}

#[test]
fn written_blocks_are_those_of_llama_cpp() {
    written_blocks_are_those_of("llama_cpp.gguf", 11);
}

/// Types of the tensors of small models, all or one for each layer.
#[test]
fn types_of_tensors_are_those_of_llama_cpp() {
    let text = std::fs::read_to_string(fixture("llama_cpp_types.json")).unwrap();
    let models: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for model in &models {
        let size = |value: &serde_json::Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let shape = GgufModel {
            architecture: model["architecture"].as_str().unwrap(),
            layers: size(&model["layers"]),
            heads: size(&model["heads"][0]),
            kv_heads: size(&model["heads"][1]),
            tied: model["tied"].as_bool().unwrap(),
        };
        let files = model["files"].as_object().unwrap();
        assert_eq!(files.len(), GgufFileType::ALL.len());
        for (kind, tensors) in files {
            let kind: GgufFileType = kind.parse().unwrap();
            let check = |name: &str, part: &str, expected: &serde_json::Value| {
                let dims = [8, size(&model["width"])];
                let dims = if part.ends_with("norm") { &dims[1..] } else { &dims };
                let found = kind.of_tensor(name, dims, &shape).to_string();
                assert_eq!(found, expected.as_str().unwrap(), "{kind} {name} {shape:?}");
            };
            for (part, expected) in tensors.as_object().unwrap() {
                if let Some(part) = part.strip_suffix(".weight") {
                    check(&format!("{part}.weight"), part, expected);
                    continue;
                }
                for layer in 0..shape.layers {
                    let expected = expected.get(layer).unwrap_or(expected);
                    check(&format!("blk.{layer}.{part}.weight"), part, expected);
                }
            }
        }
    }
}

fn written_blocks_are_those_of(name: &str, tensors: usize) {
    let file = GgufFile::open(&fixture(name)).unwrap();
    assert_eq!(file.tensors().len(), tensors);
    let values = file.floats("values").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("again.gguf");
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata() {
        writer.metadata(key, value.clone());
    }
    for (name, tensor) in file.tensors() {
        writer.add(name, &tensor.dims, tensor.dtype, || (&values).into());
    }
    let threads = ff_tensor::ThreadPool::new(2);
    writer.write(&path, &threads).unwrap();
    let again = GgufFile::open(&path).unwrap();
    assert_eq!(again.metadata(), file.metadata());
    for (name, tensor) in file.tensors() {
        let (found, expected) = (again.raw(name).unwrap(), file.raw(name).unwrap());
        let blocks = found.chunks(tensor.dtype.bytes()).zip(expected.chunks(tensor.dtype.bytes()));
        for (i, (found, expected)) in blocks.enumerate() {
            assert_eq!(found, expected, "{name}, block {i}");
        }
        assert_eq!(again.tensors()[name].dims, tensor.dims);
        let rounded = tensor.dtype.rounded(&values, &threads).unwrap();
        assert_eq!(rounded, again.floats(name).unwrap());
    }
}
