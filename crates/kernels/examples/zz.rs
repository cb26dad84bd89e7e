//! t
use ff_kernels::*;
use ff_tensor::*;
fn time(name: &str, flop: f64, peak: f64, mut f: impl FnMut(usize)) -> f64 {
    let mut t: Vec<f64> = vec![];
    for i in 0..(if flop > 1e10 { 8 } else { 60 }) {
        let now = std::time::Instant::now();
        f(i);
        t.push(now.elapsed().as_secs_f64());
    }
    t.sort_by(f64::total_cmp);
    let m = t[t.len() / 2];
    println!("{name}: {:.3} ms, ideal {:.3}, {:.1} %", m * 1e3, flop / peak * 1e3, flop / peak / m * 100.0);
    m - flop / peak
}
fn main() {
    let device = Device::open(DeviceOptions { threads: 2, isa: None }).unwrap();
    let cpu = device.cpu();
    let args: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let tokens = args[0];
    let copies = args[1];
    for pair in args[2..].chunks(2) {
        let (i, o) = (pair[0], pair[1]);
        let copies = if i * o > 10_000_000 { 1 } else { copies };
        let w: Vec<Vec<f32>> = (0..copies).map(|c| (0..i * o).map(|x| ((x + c) % 17) as f32 * 0.01).collect()).collect();
        let mut dw: Vec<Vec<f32>> = (0..copies).map(|_| vec![0.0; i * o]).collect();
        let x: Vec<f32> = (0..tokens * i).map(|x| (x % 13) as f32 * 0.1).collect();
        let xh: Vec<bf16> = x.iter().map(|&x| bf16::from_f32(x)).collect();
        let dy: Vec<f32> = (0..tokens * o).map(|x| (x % 11) as f32 * 0.1).collect();
        let dyh: Vec<bf16> = dy.iter().map(|&x| bf16::from_f32(x)).collect();
        let mut y = vec![0f32; tokens * o];
        let mut yh = vec![bf16::from_f32(0.0); tokens * o];
        let mut dx = vec![0f32; tokens * i];
        let flop = 2.0 * (tokens * i * o) as f64;
        let n = format!("{tokens} x {i}->{o}");
        time(&format!("{n} bf16 y f32"), flop, 470e9, |c| gemm_bf16(cpu, MatRef::new(&x, tokens, i), MatRef::new(&w[c % copies], o, i).t(), &mut y, false, Epilogue::default()));
        time(&format!("{n} bf16 y all half"), flop, 470e9, |c| gemm_bf16(cpu, MatRef::new(&xh, tokens, i), MatRef::new(&w[c % copies], o, i).t(), &mut yh, false, Epilogue::default()));
        time(&format!("{n} bf16 dx"), flop, 470e9, |c| gemm_bf16(cpu, MatRef::new(&dy, tokens, o), MatRef::new(&w[c % copies], o, i), &mut dx, false, Epilogue::default()));
        time(&format!("{n} bf16 dx half"), flop, 470e9, |c| gemm_bf16(cpu, MatRef::new(&dyh, tokens, o), MatRef::new(&w[c % copies], o, i), &mut dx, false, Epilogue::default()));
        time(&format!("{n} bf16 dw"), flop, 470e9, |c| gemm_bf16(cpu, MatRef::new(&dy, tokens, o).t(), MatRef::new(&x, tokens, i), &mut dw[c % copies], false, Epilogue::default()));
        time(&format!("{n} bf16 dw half"), flop, 470e9, |c| gemm_bf16(cpu, MatRef::new(&dyh, tokens, o).t(), MatRef::new(&xh, tokens, i), &mut dw[c % copies], false, Epilogue::default()));
        time(&format!("{n} f32 y"), flop, 234e9, |c| gemm(cpu, MatRef::new(&x, tokens, i), MatRef::new(&w[c % copies], o, i).t(), &mut y, false));
        time(&format!("{n} f32 dx"), flop, 234e9, |c| gemm(cpu, MatRef::new(&dy, tokens, o), MatRef::new(&w[c % copies], o, i), &mut dx, false));
        time(&format!("{n} f32 dw"), flop, 234e9, |c| gemm(cpu, MatRef::new(&dy, tokens, o).t(), MatRef::new(&x, tokens, i), &mut dw[c % copies], false));
    }
}
