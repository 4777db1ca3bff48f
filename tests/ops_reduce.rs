mod common;
use onetrace::prelude::*;
use std::time::Instant;

fn time(name: &str, x: &Tensor, f: impl Fn(Tensor) -> Vec<Tensor>) {
    let c = jit(|x: Tensor| f(x)).lower(x).unwrap().compile().unwrap();
    let _ = c.call(x).unwrap()[0].to_vec::<f32>();
    let t = Instant::now();
    for _ in 0..20 { let r = c.call(x).unwrap(); let _ = r[0].to_vec::<f32>(); }
    println!("{name} {} {:.3} ms", x.aval(), t.elapsed().as_secs_f64() * 50.0);
}

#[test]
fn smoke() {
  for shape in [vec![1_000_000usize], vec![1000, 1000]] {
    let x = common::ramp_tensor(&shape, 3);
    time("sum", &x, |x| vec![x.sum(..)]);
    time("max", &x, |x| vec![x.max(..)]);
    time("max 0", &x, |x| vec![x.max(0)]);
    time("max -1", &x, |x| vec![x.max(-1)]);
    time("argmax 0", &x, |x| vec![x.argmax(0).astype(DType::F32)]);
    time("argmax -1", &x, |x| vec![x.argmax(-1).astype(DType::F32)]);
    time("maximum", &x, |x| vec![(x.maximum(0.1)*2.0).sum(..)]);
    time("softmax", &x, |x| vec![x.softmax(-1).sum(..)]);
  }
}
