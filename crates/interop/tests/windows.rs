//! Windows over images of `f32` beside the definition, which graphs of `f64` are evaluated by.
#![allow(clippy::unwrap_used)]

use ff_interop::onnx::proto::AttributeProto;
use ff_interop::onnx::{DType, GraphBuilder, Session, Tensor};
use ff_tensor::{Device, DeviceOptions, Key, Rng};

/// An operator over images, with the shape of its kernels where it has some.
struct Case {
    operator: &'static str,
    images: &'static [usize],
    kernels: Option<&'static [usize]>,
    ints: &'static [(&'static str, &'static [i64])],
    int: &'static [(&'static str, i64)],
}

impl Case {
    fn evaluate(
        &self,
        dtype: DType,
        values: &[Vec<f64>],
        threads: usize,
    ) -> (Vec<usize>, Vec<f64>) {
        let mut graph = GraphBuilder::new("windows");
        let dims: Vec<Option<usize>> = self.images.iter().map(|&d| Some(d)).collect();
        let mut inputs = vec![graph.input("x", dtype, &dims, "")];
        let tensor = |dims: &[usize], v: &[f64]| {
            Tensor::new(dims, dtype.numbers(v.to_vec()).unwrap()).unwrap()
        };
        if let Some(kernels) = self.kernels {
            inputs.push(graph.constant("w", &tensor(kernels, &values[1])));
            inputs.push(graph.constant("b", &tensor(&[values[2].len()], &values[2])));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let lists = self.ints.iter().map(|(name, v)| AttributeProto::list(name, v));
        let attributes: Vec<AttributeProto> =
            lists.chain(self.int.iter().map(|(name, v)| AttributeProto::int(name, *v))).collect();
        let y = graph.node_with(self.operator, "y", &inputs, &attributes);
        graph.output(&y, dtype, &vec![None; self.images.len()]);
        let device = Device::open(DeviceOptions { threads, ..DeviceOptions::default() }).unwrap();
        let session = Session::on(graph.build(), &device).unwrap();
        let x = tensor(self.images, &values[0]);
        let y = session.run(vec![("x".into(), x)]).unwrap().remove(0).1;
        (y.dims().to_vec(), y.data().floats().unwrap())
    }
}

#[test]
fn windows_of_f32_are_those_of_the_definition() {
    let conv = |images, kernels, ints, int| Case {
        operator: "Conv",
        images,
        kernels: Some(kernels),
        ints,
        int,
    };
    let transposed = |images, kernels, ints| Case {
        operator: "ConvTranspose",
        images,
        kernels: Some(kernels),
        ints,
        int: &[],
    };
    let pool = |operator, images, ints, int| Case { operator, images, kernels: None, ints, int };
    let cases = [
        // Few windows: rows of a product.
        conv(&[2, 3, 7], &[5, 3, 3], &[("pads", &[1, 1])], &[]),
        conv(&[1, 4, 5, 4], &[9, 4, 3, 2], &[("pads", &[1, 0, 2, 1]), ("dilations", &[1, 2])], &[]),
        // Neighbouring windows; images that are read as they are, and in bands of rows.
        conv(&[1, 20, 10, 20], &[24, 20, 1, 1], &[], &[]),
        conv(&[1, 16, 70, 90], &[8, 16, 3, 3], &[("pads", &[1, 1, 1, 1])], &[]),
        conv(
            &[2, 12, 90, 101],
            &[9, 12, 3, 3],
            &[("pads", &[1, 1, 1, 1]), ("strides", &[2, 2])],
            &[],
        ),
        conv(&[1, 140, 9, 31], &[5, 140, 1, 1], &[], &[]),
        // Groups, and channels on their own.
        conv(&[1, 6, 20, 30], &[4, 3, 3, 3], &[("pads", &[1, 1, 1, 1])], &[("group", 2)]),
        conv(&[2, 5, 4, 60], &[5, 1, 5, 5], &[("pads", &[2, 2, 2, 2])], &[("group", 5)]),
        conv(&[1, 3, 41, 50], &[3, 1, 7, 7], &[("pads", &[3, 3, 3, 3])], &[("group", 3)]),
        conv(&[1, 3, 17, 50], &[3, 1, 3, 3], &[("strides", &[2, 2])], &[("group", 3)]),
        conv(&[1, 4, 17, 9], &[4, 1, 3, 3], &[("dilations", &[2, 2])], &[("group", 4)]),
        // Side by side, and one over the other.
        transposed(&[2, 3, 5, 7], &[3, 4, 2, 2], &[("strides", &[2, 2])]),
        transposed(&[1, 3, 5, 7], &[3, 2, 3, 3], &[("strides", &[3, 3])]),
        transposed(&[1, 3, 5, 7], &[3, 2, 3, 3], &[("strides", &[2, 2]), ("pads", &[1, 1, 1, 1])]),
        pool("MaxPool", &[2, 3, 9, 33], &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])], &[]),
        pool("MaxPool", &[1, 2, 20], &[("kernel_shape", &[3]), ("strides", &[3])], &[]),
        pool(
            "AveragePool",
            &[2, 3, 9, 33],
            &[("kernel_shape", &[3, 2]), ("strides", &[3, 2])],
            &[],
        ),
        pool(
            "AveragePool",
            &[1, 3, 8, 9],
            &[("kernel_shape", &[3, 3]), ("pads", &[1, 1, 1, 1])],
            &[("count_include_pad", 1)],
        ),
        pool(
            "AveragePool",
            &[1, 3, 8, 9],
            &[("kernel_shape", &[3, 3]), ("pads", &[1, 1, 1, 1])],
            &[("ceil_mode", 1)],
        ),
    ];
    let mut rng = Rng::new(Key::new(11));
    for case in &cases {
        let mut values = |n: usize| -> Vec<f64> {
            (0..n).map(|_| f64::from(rng.uniform() as f32 * 2.0 - 1.0)).collect()
        };
        let mut all = vec![values(case.images.iter().product())];
        if let Some(kernels) = case.kernels {
            let outputs = if case.operator == "Conv" { kernels[0] } else { kernels[1] };
            all.extend([values(kernels.iter().product()), values(outputs)]);
        }
        let label = format!("{} {:?} {:?}", case.operator, case.images, case.kernels);
        let (dims, exact) = case.evaluate(DType::F64, &all, 1);
        let found = case.evaluate(DType::F32, &all, 1);
        assert_eq!(found, case.evaluate(DType::F32, &all, 3), "{label}");
        assert_eq!(found.0, dims, "{label}");
        // A rounding of at most half an epsilon for each of up to n terms, of sums up to n.
        let n = case.kernels.map_or(9.0, |k| k[1..].iter().product::<usize>() as f64);
        let bound = f64::from(f32::EPSILON) * (n + 2.0).powi(2) / 2.0;
        for (i, (y, exact)) in found.1.iter().zip(&exact).enumerate() {
            assert!((y - exact).abs() <= bound, "{label} at {i}: {y}, expected {exact}");
        }
    }
}
