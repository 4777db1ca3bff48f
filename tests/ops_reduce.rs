mod common;
use onetrace::prelude::*;
use std::time::Instant;

fn time(name: &str, x: &Tensor, f: impl Fn(Tensor) -> Vec<Tensor>) {
    let c = jit(|x: Tensor| f(x)).lower(x).unwrap().compile().unwrap();
    let _ = c.call(x).unwrap()[0].to_vec::<f32>();
    let t = Instant::now();
    for _ in 0..5 { let r = c.call(x).unwrap(); let _ = r[0].to_vec::<f32>(); }
    println!("{name} {} {:.2} ms", x.aval(), t.elapsed().as_secs_f64() * 200.0);
}

#[test]
fn smoke() {
  for (shape, axis) in [(vec![1_000_000usize], 0), (vec![16, 50000], 1), (vec![1000, 1000], 0)] {
    let x = common::ramp_tensor(&shape, 3);
    for r in [false, true] {
        time(&format!("cumsum {r}"), &x, |x| vec![x.cumsum(axis, r)]);
        time(&format!("cummax {r}"), &x, |x| vec![x.cummax(axis, r)]);
        time(&format!("cumlogsumexp {r}"), &x, |x| vec![x.cumlogsumexp(axis, r)]);
    }
    time("sum", &x, |x| vec![x.sum(axis)]);
    time("sort", &x, |x| vec![x.sort(axis)]);
    if axis != 0 || shape.len()==1 { time("topk", &x, |x| vec![x.top_k(10).0]); }
  }
}
