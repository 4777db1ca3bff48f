use onetrace::prelude::*;
fn main() -> Result<()> {
    let t0 = std::time::Instant::now();
    let ramp = |shape: &[usize], salt: u32| { let n: usize = shape.iter().product(); let v: Vec<f32> = (0..n as u32).map(|k| { let mut h = k.wrapping_add(salt.wrapping_mul(0x9E3779B9)).wrapping_mul(2654435761); h ^= h>>15; h = h.wrapping_mul(0x85EBCA6B); h ^= h>>13; ((h>>8) as f32 / 8388608.0 - 1.0)*0.3 }).collect(); Tensor::new(&v, shape) };
    let a: Vec<usize> = std::env::args().skip(1).map(|s| s.parse().unwrap()).collect();
    let (d, h, t) = (a[0], a[1], a[2]);
    let wi = ramp(&[d, 3*h], 1).named("dense_i.kernel"); let bi = Tensor::zeros([3*h], DType::F32); let wh = ramp(&[h, 3*h], 2);
    let f = jit(|(x, wi, bi, wh): (Tensor, Tensor, Tensor, Tensor)| {
        scan(|hh: Tensor, x_t: Tensor| {
            let gi = x_t.dot(&wi) + &bi; let gh = hh.dot(&wh);
            let p = gi.split(3, -1); let q = gh.split(3, -1);
            let r = (&p[0] + &q[0]).sigmoid(); let z = (&p[1] + &q[1]).sigmoid(); let n = (&p[2] + r * &q[2]).tanh();
            ((1.0 - &z) * n + z * hh, ())
        }, Tensor::zeros([h], DType::F32), x).0
    });
    let x = ramp(&[t, d], 3);
    let x = (x, wi.clone(), bi.clone(), wh.clone()); let l = f.lower(&x)?;
    println!("first {:?}", t0.elapsed());
    let mut v = vec![]; for _ in 0..50 { let t1 = std::time::Instant::now(); f.lower(&x)?; v.push(t1.elapsed()); } v.sort(); println!("trace+lower {:?}", v[25]);
    let t1 = std::time::Instant::now(); let c = l.compile()?; println!("compile {:?}", t1.elapsed());
    let mut v = vec![];
    for _ in 0..200 { let t1 = std::time::Instant::now(); let y = c.call(&x)?; y.to_vec::<f32>()?; v.push(t1.elapsed()); }
    v.sort(); println!("run {:?} per step {:?}", v[100], v[100] / t as u32);
    println!("{:?}", &c.call(&x)?.to_vec::<f32>()?[..3]);
    Ok(())
}
