//! Interim, slow: until the branches `attention` and `losses` bring their own.
#![allow(missing_docs, unused, clippy::all)]
use crate::*;
use crate::Result;
use ff_tensor::*;
use std::sync::Arc;
#[derive(Debug, Clone, PartialEq)]
pub struct Attention { pub heads: usize, pub kv_heads: usize, pub head_dim: usize, pub scale: Option<f64>,
    pub causal: bool, pub window: Option<usize>, pub soft_cap: Option<f64>, pub alibi: bool, pub fused: bool, pub segments: Segments }
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Segments { None, Keys, Both }
impl Attention {
    pub fn new(heads: usize, kv_heads: usize, head_dim: usize) -> Self { Self { heads, kv_heads, head_dim, scale: None, causal: false, window: None, soft_cap: None, alibi: false, fused: false, segments: Segments::None } }
    pub fn op(self) -> Arc<dyn Op> { Arc::new(self) }
    pub fn attend(&self, device: &Device, q: &Tensor, cache: &KeyValueCache) -> Result<Tensor> {
        let &[b, t, _] = q.shape().dims() else { panic!() };
        let s = cache.len;
        let mut y = Tensor::uninit(device, *q.shape(), DType::F32).unwrap();
        // batch of one only
        self.run(b, t, s, (q.slice::<f32>().unwrap(), self.heads*self.head_dim, 0), (&cache.k, self.kv_heads*self.head_dim, 0), (&cache.v, self.kv_heads*self.head_dim, 0), None, None, y.slice_mut::<f32>().unwrap(), None);
        Ok(y)
    }
    fn sees(&self, t: usize, s: usize, tt: usize, ss: usize) -> bool {
        let at = (t + ss) as i64 - tt as i64;
        (!self.causal || s as i64 <= at) && self.window.is_none_or(|w| at - (s as i64) < w as i64)
    }
    fn run(&self, b: usize, tt: usize, ss: usize, q: (&[f32], usize, usize), k: (&[f32], usize, usize), v: (&[f32], usize, usize), kseg: Option<&[i32]>, qseg: Option<&[i32]>, y: &mut [f32], mut back: Option<(&[f32], &mut [f32], &mut [f32], &mut [f32])>) {
        let d = self.head_dim; let scale = self.scale.unwrap_or((d as f64).powf(-0.5)) as f32;
        for bi in 0..b { for h in 0..self.heads { let kh = h / (self.heads / self.kv_heads);
            for t in 0..tt {
                let qrow = (bi*tt+t)*q.1 + q.2 + h*d;
                let mut p = vec![0f32; ss]; let mut max = f32::NEG_INFINITY;
                for s in 0..ss {
                    let mut ok = self.sees(t, s, tt, ss);
                    if let Some(ks) = kseg { ok &= ks[bi*ss+s] >= 0; if let Some(qs) = qseg { ok &= qs[bi*tt+t] == ks[bi*ss+s]; } }
                    let kr = (bi*ss+s)*k.1 + k.2 + kh*d;
                    p[s] = if ok { scale * (0..d).map(|i| q.0[qrow+i]*k.0[kr+i]).sum::<f32>() } else { f32::NEG_INFINITY };
                    max = max.max(p[s]);
                }
                let mut sum = 0.0; if max > f32::NEG_INFINITY { for s in 0..ss { p[s] = (p[s]-max).exp(); sum += p[s]; } for s in 0..ss { p[s] /= sum; } } else { p.fill(0.0); }
                let yr = (bi*tt+t)*self.heads*d + h*d;
                match &mut back {
                    None => for i in 0..d { y[yr+i] = (0..ss).map(|s| p[s]*v.0[(bi*ss+s)*v.1+v.2+kh*d+i]).sum(); },
                    Some((dy, dq, dk, dv)) => {
                        let dp: Vec<f32> = (0..ss).map(|s| (0..d).map(|i| dy[yr+i]*v.0[(bi*ss+s)*v.1+v.2+kh*d+i]).sum()).collect();
                        let dot: f32 = (0..ss).map(|s| p[s]*dp[s]).sum();
                        for s in 0..ss { let ds = p[s]*(dp[s]-dot)*scale; let kr = (bi*ss+s)*k.1 + k.2 + kh*d; let vr=(bi*ss+s)*v.1+v.2+kh*d;
                            for i in 0..d { dq[qrow+i] += ds*k.0[kr+i]; dk[kr+i] += ds*q.0[qrow+i]; dv[vr+i] += p[s]*dy[yr+i]; } }
                    }
                }
            } } }
    }
}
impl Op for Attention {
    fn name(&self) -> &'static str { "attention" }
    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract> {
        let mut c = Contract::new([x[0].with_shape(x[0].shape.with_last(self.heads*self.head_dim))]);
        for i in 0..x.len() { c = c.keep_input(i); }
        Ok(c)
    }
    fn forward(&self, _: &Cx<'_>, x: &[TensorRef<'_>], y: &mut [TensorMut<'_>], _: &mut [TensorMut<'_>]) -> Result<()> {
        let (h, kv) = (self.heads*self.head_dim, self.kv_heads*self.head_dim);
        let &[b, t, w] = x[0].shape().dims() else { panic!() };
        let y = y[0].slice_mut::<f32>().unwrap();
        let seg = |i: usize| x.get(i).map(|x| x.slice::<i32>().unwrap());
        if self.fused { let q = x[0].slice::<f32>().unwrap(); self.run(b, t, t, (q, w, 0), (q, w, h), (q, w, h+kv), seg(1), seg(2), y, None); }
        else { let s = x[1].shape().dims()[1]; self.run(b, t, s, (x[0].slice().unwrap(), h, 0), (x[1].slice().unwrap(), kv, 0), (x[2].slice().unwrap(), kv, 0), seg(3), seg(4), y, None); }
        Ok(())
    }
    fn backward(&self, _: &Cx<'_>, kept: &Kept<'_>, dy: &mut [Option<TensorMut<'_>>], dx: &mut [Slot<'_>]) -> Result<()> {
        let (h, kv) = (self.heads*self.head_dim, self.kv_heads*self.head_dim);
        let x0 = kept.input(0)?; let &[b, t, w] = x0.shape().dims() else { panic!() };
        let dy = &*dy[0].as_mut().unwrap().slice_mut::<f32>().unwrap();
        let n = dx.len();
        let seg = |i: usize| (i < n).then(|| kept.input(i).unwrap().slice::<i32>().unwrap());
        if self.fused {
            let q = x0.slice::<f32>().unwrap(); let (mut a, mut bb, mut c) = (vec![0.0; q.len()], vec![0.0; q.len()], vec![0.0; q.len()]);
            self.run(b, t, t, (q, w, 0), (q, w, h), (q, w, h+kv), seg(1), seg(2), &mut [], Some((dy, &mut a, &mut bb, &mut c)));
            let (d, add) = dx[0].take::<f32>().unwrap().unwrap();
            for i in 0..d.len() { let v = a[i]+bb[i]+c[i]; d[i] = if add { d[i]+v } else { v }; }
        } else {
            let (q, k, v): (&[f32], &[f32], &[f32]) = (x0.slice().unwrap(), kept.input(1)?.slice().unwrap(), kept.input(2)?.slice().unwrap());
            let s = kept.spec(1).shape.dims()[1];
            let (mut a, mut bb, mut c) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
            self.run(b, t, s, (q, h, 0), (k, kv, 0), (v, kv, 0), seg(3), seg(4), &mut [], Some((dy, &mut a, &mut bb, &mut c)));
            for (i, g) in [a, bb, c].iter().enumerate() { if let Some((d, add)) = dx[i].take::<f32>().unwrap() { for j in 0..d.len() { d[j] = if add { d[j]+g[j] } else { g[j] }; } } }
        }
        Ok(())
    }
}
#[derive(Debug, Clone)]
pub struct Rotary { pub head_dim: usize, pub rotary_dim: usize, pub interleaved: bool, pub inv_freq: Arc<[f64]>, pub scaling: f64 }
impl Rotary { pub fn op(self) -> Arc<dyn Op> { Arc::new(self) }
    fn turn(&self, x: &[f32], pos: &[i32], w: usize, y: &mut [f32], sign: f32, add: bool) {
        for (n, &p) in pos.iter().enumerate() { for h in 0..w/self.head_dim { let o = n*w+h*self.head_dim;
            let mut out: Vec<f32> = x[o..o+self.head_dim].to_vec();
            let half = self.rotary_dim/2;
            for i in 0..half { let a = p as f64*self.inv_freq[i]; let (c, s) = ((a.cos()*self.scaling) as f32, (a.sin()*self.scaling) as f32 * sign);
                let (u, v) = (x[o+i], x[o+i+half]); out[i] = u*c-v*s; out[i+half] = v*c+u*s; }
            for i in 0..self.head_dim { y[o+i] = if add { y[o+i]+out[i] } else { out[i] }; }
        } }
    }
}
impl Op for Rotary {
    fn name(&self) -> &'static str { "rotary" }
    fn contract(&self, x: &[Spec], need: &[bool]) -> Result<Contract> { Ok(Contract::new([x[0]]).keep_input(1)) }
    fn forward(&self, _: &Cx<'_>, x: &[TensorRef<'_>], y: &mut [TensorMut<'_>], _: &mut [TensorMut<'_>]) -> Result<()> {
        self.turn(x[0].slice().unwrap(), x[1].slice().unwrap(), x[0].shape().last(), y[0].slice_mut().unwrap(), 1.0, false); Ok(()) }
    fn backward(&self, _: &Cx<'_>, kept: &Kept<'_>, dy: &mut [Option<TensorMut<'_>>], dx: &mut [Slot<'_>]) -> Result<()> {
        let (d, add) = dx[0].take::<f32>().unwrap().unwrap();
        self.turn(dy[0].as_mut().unwrap().slice_mut().unwrap(), kept.input(1)?.slice().unwrap(), kept.spec(0).shape.last(), d, -1.0, add); Ok(()) }
}
#[derive(Debug)]
pub struct KeyValueCache { len: usize, k: Vec<f32>, v: Vec<f32>, width: usize }
impl KeyValueCache {
    pub fn new(device: &Device, batch: usize, width: usize, capacity: usize) -> Result<Self> { Ok(Self { len: 0, k: vec![], v: vec![], width }) }
    pub fn len(&self) -> usize { self.len }
    pub fn append(&mut self, k: &Tensor, v: &Tensor) -> Result<()> { self.k.extend(k.slice::<f32>().unwrap()); self.v.extend(v.slice::<f32>().unwrap()); self.len += k.shape().len()/self.width; Ok(()) }
    pub fn truncate(&mut self, len: usize) { self.len = len; self.k.truncate(len*self.width); self.v.truncate(len*self.width); }
}
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixtureOfExperts { pub top_k: usize, pub softmax_first: bool, pub normalize: bool, pub activation: Activation, pub bf16: bool }
impl Default for MixtureOfExperts { fn default() -> Self { Self { top_k: 1, softmax_first: true, normalize: true, activation: Activation::Silu, bf16: false } } }
impl MixtureOfExperts { pub fn op(self) -> Arc<dyn Op> { Scale::op(1.0) } }
