use onetrace::hlo::{Module, TextOptions};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    for path in &args[2..] {
        let module = match Module::read(path) {
            Ok(m) => m,
            Err(e) => {
                println!("{path}: ERR {e}");
                continue;
            }
        };
        match args[1].as_str() {
            "stats" => println!("{}", serde_json::to_string_pretty(&module.stats()).unwrap()),
            "text" => println!("{}", module.text(TextOptions::default()).unwrap()),
            "all" => {
                let s = module.stats();
                let t = module.text(TextOptions { full_constants: true, metadata: true });
                let p = module.pbtxt();
                let st = module.stablehlo();
                let e = |r: &Result<String, onetrace::Error>| match r { Ok(_) => "ok".into(), Err(e) => e.to_string().replace('\n', " ").chars().take(200).collect::<String>() };
                println!("{path}: {} {} | {} | {} | {}", s.instructions, s.flops, e(&t), e(&p), e(&st));
                let _ = module.dot();
                if args.len() == 3 {
                    let p = module.compile(&onetrace::Device::cpu().unwrap());
                    println!("compile: {}", p.err().map(|e| e.to_string()).unwrap_or_default());
                }
            }
            _ => (),
        }
    }
}
