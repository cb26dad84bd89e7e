use super::*;
use crate::gemm_reference;
use ff_tensor::{Device, DeviceOptions, Key, Rng, bf16};
use std::sync::Arc;

const FORMS: [FileForm; 13] = [
    FileForm::F32,
    FileForm::F16,
    FileForm::BF16,
    FileForm::Q8_0,
    FileForm::Q4_0,
    FileForm::Q4_1,
    FileForm::Q5_0,
    FileForm::Q5_1,
    FileForm::Q2_K,
    FileForm::Q3_K,
    FileForm::Q4_K,
    FileForm::Q5_K,
    FileForm::Q6_K,
];

fn devices(threads: usize) -> impl Iterator<Item = Device> {
    let isas = [Isa::Plain, Isa::Avx2, Isa::Avx512].into_iter();
    isas.filter(|&isa| isa <= Isa::detect())
        .map(move |isa| Device::open(DeviceOptions { threads, isa: Some(isa) }).unwrap())
}

fn values(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.uniform() as f32 * 2.0 - 1.0).collect()
}

/// Any bytes, with scales of about 1.
fn matrix(rng: &mut Rng, form: FileForm, rows: usize, cols: usize) -> FileMatrix {
    let blocks = rows * cols / form.block();
    let mut bytes = Vec::new();
    for _ in 0..blocks {
        let value = rng.uniform() as f32 * 2.0 - 1.0;
        let half = half::f16::from_f32(value).to_le_bytes();
        match form {
            FileForm::F32 => bytes.extend(value.to_le_bytes()),
            FileForm::F16 => bytes.extend(half),
            FileForm::BF16 => bytes.extend(half::bf16::from_f32(value).to_le_bytes()),
            _ => {
                let mut block: Vec<u8> =
                    (0..form.bytes()).map(|_| (rng.uniform() * 256.0) as u8).collect();
                for &at in halves(form) {
                    block[at..at + 2].copy_from_slice(&half);
                }
                bytes.extend(block);
            }
        }
    }
    FileMatrix::new(form, [rows, cols], Arc::new(bytes), 0).unwrap()
}

/// The places of the scales of a block.
fn halves(form: FileForm) -> &'static [usize] {
    match form {
        FileForm::Q4_1 | FileForm::Q5_1 | FileForm::Q4_K | FileForm::Q5_K => &[0, 2],
        FileForm::Q2_K => &[80, 82],
        FileForm::Q3_K => &[108],
        FileForm::Q6_K => &[208],
        _ => &[0],
    }
}

/// Bits of bytes from the lowest on: `width` bits of `bytes[place(i)]`.
fn field(bytes: &[u8], place: usize, shift: usize, width: usize) -> f32 {
    f32::from(bytes[place] >> shift & ((1u16 << width) - 1) as u8)
}

/// The definition of the forms, in plain words.
fn defined(w: &FileMatrix) -> Vec<f32> {
    let half = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
    let nibbles = |b: &[u8]| -> Vec<f32> {
        let low = b.iter().map(|b| f32::from(b & 15));
        low.chain(b.iter().map(|b| f32::from(b >> 4))).collect()
    };
    let block = |b: &[u8]| -> Vec<f32> {
        match w.form() {
            FileForm::F32 => vec![f32::from_le_bytes(b.try_into().unwrap())],
            FileForm::F16 => vec![half(b)],
            FileForm::BF16 => vec![half::bf16::from_le_bytes([b[0], b[1]]).to_f32()],
            FileForm::Q8_0 => b[2..].iter().map(|&q| half(b) * f32::from(q as i8)).collect(),
            FileForm::Q4_0 => nibbles(&b[2..]).iter().map(|q| half(b) * (q - 8.0)).collect(),
            FileForm::Q4_1 => {
                nibbles(&b[4..]).iter().map(|q| half(b) * q + half(&b[2..])).collect()
            }
            FileForm::Q5_0 | FileForm::Q5_1 => {
                let start = if w.form() == FileForm::Q5_0 { 2 } else { 4 };
                let fifth = |i: usize| 16.0 * field(b, start + i / 8, i % 8, 1);
                let q = nibbles(&b[start + 4..]).into_iter().enumerate().map(|(i, q)| q + fifth(i));
                match w.form() {
                    FileForm::Q5_0 => q.map(|q| half(b) * (q - 16.0)).collect(),
                    _ => q.map(|q| half(b) * q + half(&b[2..])).collect(),
                }
            }
            FileForm::Q2_K => (0..256)
                .map(|i| {
                    let q = field(b, 16 + i / 128 * 32 + i % 32, i / 32 % 4 * 2, 2);
                    let (scale, min) = (field(b, i / 16, 0, 4), field(b, i / 16, 4, 4));
                    half(&b[80..]) * scale * q - half(&b[82..]) * min
                })
                .collect(),
            FileForm::Q3_K => (0..256)
                .map(|i| {
                    let q = field(b, 32 + i / 128 * 32 + i % 32, i / 32 % 4 * 2, 2)
                        + 4.0 * field(b, i % 32, i / 32, 1);
                    let scale = field(b, 96 + i / 16 % 8, i / 128 * 4, 4)
                        + 16.0 * field(b, 104 + i / 16 % 4, i / 64 * 2, 2);
                    half(&b[108..]) * (scale - 32.0) * (q - 4.0)
                })
                .collect(),
            FileForm::Q4_K | FileForm::Q5_K => (0..256)
                .map(|i| {
                    let (group, five) = (i / 32, w.form() == FileForm::Q5_K);
                    let start = if five { 48 } else { 16 };
                    let fifth = if five { 16.0 * field(b, 16 + i % 32, group, 1) } else { 0.0 };
                    let q = field(b, start + i / 64 * 32 + i % 32, group % 2 * 4, 4) + fifth;
                    let (scale, min) = match group {
                        0..4 => (field(b, 4 + group, 0, 6), field(b, 8 + group, 0, 6)),
                        _ => (
                            field(b, 8 + group, 0, 4) + 16.0 * field(b, group, 6, 2),
                            field(b, 8 + group, 4, 4) + 16.0 * field(b, 4 + group, 6, 2),
                        ),
                    };
                    half(b) * scale * q - half(&b[2..]) * min
                })
                .collect(),
            FileForm::Q6_K => (0..256)
                .map(|i| {
                    let q = field(b, i / 128 * 64 + i % 64, i / 64 % 2 * 4, 4)
                        + 16.0 * field(b, 128 + i / 128 * 32 + i % 32, i / 32 % 4 * 2, 2);
                    half(&b[208..]) * f32::from(b[192 + i / 16] as i8) * (q - 32.0)
                })
                .collect(),
        }
    };
    w.bytes().chunks_exact(w.form().bytes()).flat_map(block).collect()
}

fn as_f32(w: &FileMatrix, values: &[f32]) -> FileMatrix {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    FileMatrix::new(FileForm::F32, [w.rows(), w.cols()], Arc::new(bytes), 0).unwrap()
}

#[test]
fn rows_are_the_values_of_the_definition() {
    let mut rng = Rng::new(Key::new(1));
    for device in devices(2) {
        for form in FORMS {
            for (rows, cols) in [(1, 32), (3, 64), (700, 96), (5, 45), (2, 1), (3, 512)] {
                if cols % form.block() != 0 {
                    continue;
                }
                let w = matrix(&mut rng, form, rows, cols);
                let mut found = vec![f32::NAN; rows * cols];
                file_rows(device.cpu(), &w, 0..rows, &mut found);
                assert_eq!(found, defined(&w), "{form:?} {rows}×{cols}");
                let mut last = vec![f32::NAN; cols];
                file_rows(device.cpu(), &w, rows - 1..rows, &mut last);
                assert_eq!(last, found[(rows - 1) * cols..]);
            }
        }
    }
}

/// Products are those with the same values as f32, bit by bit, and near the definition: k + 1
/// roundings of at most k·eps/2 times the largest term.
#[test]
fn products_have_the_bits_of_those_with_f32() {
    let mut rng = Rng::new(Key::new(2));
    for device in devices(2) {
        let cpu = device.cpu();
        for form in FORMS {
            for (out, depth) in [(1, 32), (5, 64), (37, 96), (9, 45), (130, 1056), (13, 768)] {
                if depth % form.block() != 0 {
                    continue;
                }
                let w = matrix(&mut rng, form, out, depth);
                let dense = defined(&w);
                let plain = as_f32(&w, &dense);
                let largest = dense.iter().fold(0f32, |m, v| m.max(v.abs()));
                for m in [1, 2, 3, 4, 7, 8, 15, FEW, FEW + 1] {
                    let (x, bias) = (values(&mut rng, m * depth), values(&mut rng, out));
                    let (mut y, mut same) = (vec![0.0; m * out], vec![0.0; m * out]);
                    file_product(cpu, &x, &w, Some(&bias), &mut y);
                    file_product(cpu, &x, &plain, Some(&bias), &mut same);
                    assert_eq!(y, same, "{form:?} {m}×{out}×{depth}");
                    let mut expected = vec![0.0; m * out];
                    let matrix = MatRef::new(&dense, out, depth);
                    gemm_reference(MatRef::new(&x, m, depth), matrix.t(), &mut expected, false);
                    let bound = f32::EPSILON * (depth + 2) as f32 * depth as f32 * largest;
                    for (i, (y, e)) in y.iter().zip(&expected).enumerate() {
                        let e = e + bias[i % out];
                        assert!((y - e).abs() <= bound, "{form:?} {m}×{out}×{depth}: {y}, {e}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_beside_any_others() {
    let mut rng = Rng::new(Key::new(3));
    for device in devices(1) {
        let w = matrix(&mut rng, FileForm::Q4_1, 23, 128);
        let x = values(&mut rng, FEW * 128);
        let mut all = vec![0.0; FEW * 23];
        file_product(device.cpu(), &x, &w, None, &mut all);
        for t in 0..FEW {
            let mut one = vec![0.0; 23];
            file_product(device.cpu(), &x[t * 128..][..128], &w, None, &mut one);
            assert_eq!(one, all[t * 23..][..23]);
        }
    }
}

#[test]
fn gradients_are_those_of_the_definition() {
    let mut rng = Rng::new(Key::new(4));
    for device in devices(2) {
        for form in FORMS {
            let (m, out, depth) = (5, 70, 256);
            let w = matrix(&mut rng, form, out, depth);
            let dense = defined(&w);
            let dy = values(&mut rng, m * out);
            for accumulate in [false, true] {
                let start = values(&mut rng, m * depth);
                let (mut dx, mut expected) = (start.clone(), start);
                file_product_back(device.cpu(), &dy, &w, &mut dx, accumulate);
                let (dy, w) = (MatRef::new(&dy, m, out), MatRef::new(&dense, out, depth));
                gemm(device.cpu(), dy, w, &mut expected, accumulate);
                assert_eq!(dx, expected, "{form:?}");
            }
        }
    }
}

#[test]
fn threads_give_the_same_bits() {
    let mut rng = Rng::new(Key::new(5));
    for form in FORMS {
        let w = matrix(&mut rng, form, 701, 768);
        for m in [1, 3, FEW] {
            let x = values(&mut rng, m * 768);
            let results = [1, 2, 3].map(|threads| {
                let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
                let mut y = vec![0.0; m * 701];
                file_product(device.cpu(), &x, &w, None, &mut y);
                y
            });
            assert!(results.iter().all(|r| *r == results[0]), "{form:?} {m}");
        }
    }
}

/// Products in bf16 are those with the same values as f32, bit by bit; a matrix of several panels
/// too, but for its sums of the backward pass, which are in another order.
#[test]
fn products_of_bf16_are_those_with_f32() {
    let mut rng = Rng::new(Key::new(6));
    for device in devices(2) {
        for form in FORMS {
            in_bf16::<f32, bf16>(&device, &matrix(&mut rng, form, 70, 256), 5, &mut rng);
            in_bf16::<bf16, f32>(&device, &matrix(&mut rng, form, 70, 256), FEW + 1, &mut rng);
        }
        let several = matrix(&mut rng, FileForm::Q4_1, PANEL / 1024 + 37, 1024);
        in_bf16::<bf16, f32>(&device, &several, 3, &mut rng);
        in_bf16::<f32, bf16>(&device, &several, 3, &mut rng);
    }
}

fn in_bf16<A: Bf16Operand + Stored<Compute = f32>, C: Stored<Compute = f32>>(
    device: &Device,
    w: &FileMatrix,
    m: usize,
    rng: &mut Rng,
) {
    let (cpu, dense) = (device.cpu(), defined(w));
    let (out, depth) = (w.rows(), w.cols());
    let stored = |n: usize, rng: &mut Rng| -> Vec<A> {
        values(rng, n).into_iter().map(A::from_compute).collect()
    };
    let floats = |values: &[C]| -> Vec<f32> { values.iter().map(|v| v.compute()).collect() };
    let matrix = MatRef::new(&dense, out, depth);
    let (x, bias) = (stored(m * depth, rng), values(rng, out));
    let double = |y: &mut [f32]| y.iter_mut().for_each(|y| *y *= 2.0);
    let zeros = || vec![C::from_compute(0.0); m * out];
    let [mut y, mut z, mut same, mut same_z] = [(); 4].map(|()| zeros());
    let epilogue = |z| Epilogue { bias: Some(&bias), z: Some(z), f: Some(&double) };
    file_product_bf16(cpu, &x, w, &mut y, epilogue(&mut z));
    let rows = MatRef::new(&x, m, depth);
    gemm_bf16(cpu, rows, matrix.t(), &mut same, false, epilogue(&mut same_z));
    assert_eq!((floats(&y), floats(&z)), (floats(&same), floats(&same_z)), "{w:?}");
    assert!(floats(&y) != floats(&z));

    let dy = stored(m * out, rng);
    for accumulate in [false, true] {
        let start: Vec<C> = values(rng, m * depth).into_iter().map(C::from_compute).collect();
        let (mut dx, mut same) = (start.clone(), start);
        file_product_back_bf16(cpu, &dy, w, &mut dx, accumulate);
        let dy = MatRef::new(&dy, m, out);
        gemm_bf16(cpu, dy, matrix, &mut same, accumulate, Epilogue::default());
        let (dx, same) = (floats(&dx), floats(&same));
        if out * depth <= PANEL {
            assert_eq!(dx, same, "{w:?}");
            continue;
        }
        // Sums of `out` terms, and one rounding to C.
        let largest = same.iter().fold(0f32, |m, v| m.max(v.abs()));
        let eps = if size_of::<C>() == 2 { 2f32.powi(-8) } else { 1e-5 };
        for (dx, same) in dx.iter().zip(&same) {
            assert!((dx - same).abs() <= eps * largest, "{w:?}: {dx}, {same}");
        }
    }
}
