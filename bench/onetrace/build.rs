//! A binary needs XLA's directory in its own run path; onetrace's build script says where it is.

fn main() {
    if let Ok(lib) = std::env::var("DEP_ONETRACE_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
